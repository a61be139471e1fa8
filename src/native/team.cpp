#include "team.h"

#include <immintrin.h>

#include <system_error>
#include <thread>
#include <vector>

namespace finerank {
namespace {

constexpr int kSpins = 4000;  // about 50 us: longer than the others of a stage usually take

}  // namespace

void Stage::finish(int done, int parts) {
  if (done && done_.fetch_add(done, std::memory_order_acq_rel) + done == parts) done_.notify_all();
  for (int spin = 0; spin < kSpins; ++spin) {
    if (done_.load(std::memory_order_acquire) == parts) return;
    _mm_pause();
  }
  for (int before; (before = done_.load(std::memory_order_acquire)) != parts;)
    done_.wait(before, std::memory_order_acquire);
}

void run_team(int threads, const std::function<void(int, int)>& work) {
  std::atomic<int> size{0};  // known once it is known how many there are
  std::vector<std::thread> others;
  others.reserve(threads);
  try {
    for (int thread = 1; thread < threads; ++thread)
      others.emplace_back([&size, &work, thread] {
        size.wait(0);
        work(size.load(), thread);
      });
  } catch (const std::system_error&) {  // as many as there are will do
  }
  size.store(static_cast<int>(others.size()) + 1);
  size.notify_all();
  work(size.load(), 0);
  for (std::thread& other : others) other.join();
}

}  // namespace finerank
