// The stages of a pass: enter, then for each layer attention (a head of a pair is a part) and the rest (a block of rows
// is a part), and for a cross-encoder's last layer a group of pairs, for late interaction a pair. A batch of one block goes
// by columns (columns.h): a part is a slice of them. Threads take the next part there is, and go on when all parts of a
// stage are done, whoever did them: one that the system keeps from running holds up nobody but with a part in hand. What a
// part computes does not depend on who computes it or how the rows and columns were divided.
#include "forward.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>

#include "team.h"

namespace finerank {
namespace {

constexpr std::size_t kAlignment = 64;

// Hands out aligned pieces of one allocation; with no base it only counts.
class Carver {
 public:
  explicit Carver(char* base = nullptr) : base_(base) {}
  template <class T>
  T* take(std::size_t count) {
    char* place = base_ ? base_ + used_ : nullptr;
    used_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(place);
  }
  std::size_t used() const { return used_; }

 private:
  char* base_;
  std::size_t used_ = 0;
};

Scratch carve_scratch(Carver& carver, const Model& model, std::size_t longest) {
  const std::size_t width = model.width, attention = model.attention, head = model.head_width;
  const std::size_t keys = padded(static_cast<int>(longest)), chunk = model.layer[0].down.chunk;
  const std::size_t widest = std::max({width, attention, static_cast<std::size_t>(kKeyChunk)});
  Scratch s;
  s.narrow = carver.take<std::int16_t>(kBlockRows * widest);
  s.inner_narrow = carver.take<std::int16_t>(kBlockRows * chunk);
  s.inner = carver.take<float>(kBlockRows * chunk);
  s.row_scale = carver.take<float>(kBlockRows);
  s.inner_scale = carver.take<float>(kBlockRows);
  s.sum = carver.take<float>(kBlockRows * width);
  s.x = carver.take<float>(kBlockRows * width);
  s.q = carver.take<float>(kBlockRows * attention);
  s.ctx = carver.take<float>(kBlockRows * attention);
  s.keys = carver.take<float>(keys * head);
  s.values = carver.take<float>(keys * head);
  s.value_scale = carver.take<float>((keys / kKeyChunk + 1) * head);
  s.scores = carver.take<float>(kQueryRows * keys);
  s.shares = carver.take<std::int16_t>(kQueryRows * keys);
  s.share_scale = carver.take<float>((keys / kKeyChunk + 1) * kQueryRows);
  return s;
}

// Rows in a part: kBlockRows or fewer, so that every thread has as many parts.
int block_rows(int rows, int threads) {
  const int rounds = (rows + threads * kBlockRows - 1) / (threads * kBlockRows), parts = rounds * threads;
  return (rows + parts - 1) / parts;
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point& last) {
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - last).count();
  last = now;
  return seconds;
}

}  // namespace

void Workspace::Free::operator()(void* p) const { std::free(p); }

Workspace::Memory Workspace::take(std::size_t bytes) {
  void* memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (!memory) throw std::bad_alloc();
  return Memory(static_cast<char*>(memory));
}

void Workspace::fit(const Model& model, const Batch& batch, int threads) {
  std::size_t longest = 0;
  for (int pair = 0; pair < batch.pairs; ++pair)
    longest = std::max<std::size_t>(longest, batch.starts[pair + 1] - batch.starts[pair]);
  const std::size_t tokens = batch.tokens, width = model.width, attention = model.attention;
  if (tokens > tokens_) {
    activations_.reset();
    tokens_ = 0;
    auto carve = [&](Carver carver) {
      x_ = carver.take<float>(tokens * width);
      qkv_ = carver.take<float>(tokens * 3 * attention);
      ctx_ = carver.take<float>(tokens * attention);
      const std::size_t rows = std::min<std::size_t>(tokens, kBlockRows);
      middle_ = carver.take<float>(rows * width);
      inner_ = carver.take<float>(rows * model.inner);
      return carver.used();
    };
    activations_ = take(carve(Carver()));
    carve(Carver(activations_.get()));
    tokens_ = tokens;
  }
  if (longest > longest_ || scratches_.size() < static_cast<std::size_t>(threads)) {
    longest_ = std::max(longest, longest_);
    scratches_.clear();
    memories_.clear();
    Carver counter;
    carve_scratch(counter, model, longest_);
    for (int thread = 0; thread < threads; ++thread) {
      memories_.push_back(take(counter.used()));
      Carver carver(memories_.back().get());
      scratches_.push_back(carve_scratch(carver, model, longest_));
    }
  }
}

Batch Workspace::bind(Batch batch) const {
  batch.x = x_, batch.qkv = qkv_, batch.ctx = ctx_, batch.middle = middle_, batch.inner = inner_;
  return batch;
}

namespace {

// One thread's way through a pass.
class Walk {
 public:
  Walk(const Model& model, const Kernels& kernels, const Batch& batch, int threads, std::vector<Stage>& stages,
       Scratch& scratch, Profile* profile)
      : model_(model), kernels_(kernels), batch_(batch), threads_(threads), stage_(stages.data()), scratch_(scratch),
        profile_(profile) {}

  void by_rows() {
    const int tokens = batch_.tokens, pairs = batch_.pairs;
    const int rows = block_rows(tokens, threads_), blocks = (tokens + rows - 1) / rows;
    share(blocks, [&](int block) {
      kernels_.enter(model_, batch_, block * rows, std::min(tokens, (block + 1) * rows), scratch_);
    });
    note(&Profile::enter);
    for (int layer = model_.first; layer < (model_.late ? model_.layers : model_.layers - 1); ++layer) {
      share(pairs * model_.heads, [&](int part) {
        kernels_.attend(model_, batch_, part / model_.heads, part % model_.heads, scratch_);
      });
      note(&Profile::attend);
      share(blocks, [&](int block) {
        const int first = block * rows, last = std::min(tokens, first + rows);
        if (layer < model_.layers - 1)
          kernels_.pass(model_, batch_, layer, first, last, scratch_);
        else
          kernels_.leave(model_, batch_, first, last, scratch_);
      });
      note(&Profile::pass);
    }
    if (model_.late) return;
    const int group = std::min(kBlockRows, (pairs + threads_ - 1) / threads_);
    share((pairs + group - 1) / group, [&](int part) {
      kernels_.finish(model_, batch_, part * group, std::min(pairs, (part + 1) * group), scratch_);
    });
  }

  void by_columns() {
    scratch_.held = -1;
    for (int layer = model_.first; layer < model_.layers; ++layer) {
      share(threads_, [&](int part) {
        kernels_.project_heads(model_, batch_, layer, {part, threads_}, scratch_);
        note(layer == model_.first ? &Profile::enter : &Profile::pass);
        kernels_.attend_heads(model_, batch_, layer, {part, threads_}, scratch_);
      });
      note(&Profile::attend);
      for (auto columns : {kernels_.add_columns, kernels_.up_columns, kernels_.down_columns})
        share(threads_, [&](int part) { columns(model_, batch_, layer, {part, threads_}, scratch_); });
      note(&Profile::pass);
    }
    share(threads_, [&](int part) { kernels_.end_rows(model_, batch_, {part, threads_}, scratch_); });
  }

  void compare() {
    share(batch_.matches, [&](int match) { kernels_.compare(model_, batch_, match); });
  }

  void note(double Profile::*stage_seconds) {
    if (profile_) profile_->*stage_seconds += seconds_since(last_);
  }

 private:
  template <class Compute>
  void share(int parts, Compute compute) {
    int done = 0;
    for (int part; (part = stage_->take()) < parts; ++done) compute(part);
    stage_++->finish(done, parts);
  }

  const Model& model_;
  const Kernels& kernels_;
  const Batch& batch_;
  const int threads_;
  Stage* stage_;
  Scratch& scratch_;
  Profile* profile_;
  Clock::time_point last_ = Clock::now();
};

}  // namespace

void forward(const Model& model, const Kernels& kernels, Batch unbound, int threads, Workspace& workspace,
             Profile* profile) {
  threads = std::max(1, std::min(threads, (unbound.tokens + 7) / 8));
  workspace.fit(model, unbound, threads);
  const Batch batch = workspace.bind(unbound);
  std::vector<Stage> stages(4 * model.layers + 3);

  run_team(threads, [&](int size, int thread) {
    Walk walk(model, kernels, batch, size, stages, workspace.scratch(thread), thread ? nullptr : profile);
    if (1 < size && size <= model.heads && batch.tokens <= kBlockRows && model.first < model.layers)
      walk.by_columns();
    else
      walk.by_rows();
    if (model.late) walk.compare();
    walk.note(&Profile::finish);
  });
}

}  // namespace finerank
