// A forward pass: which part of which layer runs on which thread.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "model.h"

namespace finerank {

// Memory for a forward pass, kept from one to the next. Grows to the largest batch seen.
class Workspace {
 public:
  // Throws std::bad_alloc.
  void fit(const Model& model, const Batch& batch, int threads);
  Batch bind(Batch batch) const;
  Scratch& scratch(int thread) { return scratches_[thread]; }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  using Memory = std::unique_ptr<char, Free>;
  static Memory take(std::size_t bytes);

  std::size_t tokens_ = 0, longest_ = 0;
  Memory activations_;
  std::vector<Memory> memories_;
  std::vector<Scratch> scratches_;
  float *x_ = nullptr, *qkv_ = nullptr, *ctx_ = nullptr, *middle_ = nullptr, *inner_ = nullptr;
};

// Seconds spent in each stage by the first thread: entering, attention, rows, the last layer and the head (by columns
// the head alone).
struct Profile {
  double enter = 0, attend = 0, pass = 0, finish = 0;
};

// Logits of a batch. Any number may run at once, each with a workspace of its own.
void forward(const Model& model, const Kernels& kernels, Batch batch, int threads, Workspace& workspace,
             Profile* profile);

}  // namespace finerank
