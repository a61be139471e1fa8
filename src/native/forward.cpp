// The stages of a pass: enter, then for each layer attention (a head of a pair is a part) and the rest (a block of rows
// is a part), and for a cross-encoder's last layer a group of pairs, for late interaction a pair. Within a stage threads
// take the next part there is; between stages they meet. A batch of one block goes by columns (columns.h). What a part
// computes does not depend on who computes it or how the rows and columns were divided.
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
      inner_ = carver.take<float>(std::min<std::size_t>(tokens, kBlockRows) * model.inner);
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
  batch.x = x_, batch.qkv = qkv_, batch.ctx = ctx_, batch.inner = inner_;
  return batch;
}

void forward(const Model& model, const Kernels& kernels, Batch unbound, int threads, Workspace& workspace,
             Profile* profile) {
  const int tokens = unbound.tokens, pairs = unbound.pairs;
  threads = std::max(1, std::min(threads, (tokens + 7) / 8));
  workspace.fit(model, unbound, threads);
  const Batch batch = workspace.bind(unbound);
  const int stages = 2 * model.layers + 2;
  std::vector<std::atomic<int>> taken(stages);

  run_team(threads, [&](Team& team, int thread) {
    Scratch& scratch = workspace.scratch(thread);
    int stage = 0;
    auto share = [&](int parts, auto compute) {
      for (int part; (part = taken[stage].fetch_add(1, std::memory_order_relaxed)) < parts;) compute(part);
      ++stage;
      team.meet();
    };
    Clock::time_point last = Clock::now();
    auto note = [&](double Profile::*stage_seconds) {
      if (profile && thread == 0) profile->*stage_seconds += seconds_since(last);
    };
    auto by_rows = [&] {
      const int rows = block_rows(tokens, team.size()), blocks = (tokens + rows - 1) / rows;
      share(blocks, [&](int block) {
        kernels.enter(model, batch, block * rows, std::min(tokens, (block + 1) * rows), scratch);
      });
      note(&Profile::enter);
      for (int layer = model.first; layer < (model.late ? model.layers : model.layers - 1); ++layer) {
        share(pairs * model.heads, [&](int part) {
          kernels.attend(model, batch, part / model.heads, part % model.heads, scratch);
        });
        note(&Profile::attend);
        share(blocks, [&](int block) {
          const int first = block * rows, last = std::min(tokens, first + rows);
          if (layer < model.layers - 1)
            kernels.pass(model, batch, layer, first, last, scratch);
          else
            kernels.leave(model, batch, first, last, scratch);
        });
        note(&Profile::pass);
      }
      if (model.late) return;
      const int group = std::min(kBlockRows, (pairs + team.size() - 1) / team.size());
      share((pairs + group - 1) / group, [&](int part) {
        kernels.finish(model, batch, part * group, std::min(pairs, (part + 1) * group), scratch);
      });
    };
    auto by_columns = [&] {
      const Part part{thread, team.size()};
      for (int layer = model.first; layer < model.layers; ++layer) {
        kernels.project_heads(model, batch, layer, part, scratch);
        note(layer == model.first ? &Profile::enter : &Profile::pass);
        kernels.attend_heads(model, batch, layer, part, scratch);
        team.meet();
        note(&Profile::attend);
        for (auto columns : {kernels.add_columns, kernels.up_columns, kernels.down_columns}) {
          columns(model, batch, layer, part, scratch);
          team.meet();
        }
        note(&Profile::pass);
      }
      kernels.end_rows(model, batch, part, scratch);
      team.meet();
    };
    if (team.size() > 1 && tokens <= kBlockRows && model.first < model.layers)
      by_columns();
    else
      by_rows();
    if (model.late) share(batch.matches, [&](int match) { kernels.compare(model, batch, match); });
    note(&Profile::finish);
  });
}

}  // namespace finerank
