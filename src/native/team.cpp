#include "team.h"

#include <immintrin.h>

#include <memory>
#include <system_error>
#include <thread>
#include <vector>

namespace finerank {
namespace {

constexpr int kSpins = 4000;  // about 50 us: longer than the others of a meeting usually take

}  // namespace

void Team::meet() {
  const unsigned meeting = meetings_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    meetings_.store(meeting + 1, std::memory_order_release);
    meetings_.notify_all();
    return;
  }
  for (int spin = 0; spin < kSpins; ++spin) {
    if (meetings_.load(std::memory_order_acquire) != meeting) return;
    _mm_pause();
  }
  meetings_.wait(meeting, std::memory_order_acquire);
}

void run_team(int threads, const std::function<void(Team&, int)>& work) {
  std::atomic<Team*> team{nullptr};  // known once it is known how many there are
  std::vector<std::thread> others;
  others.reserve(threads);
  try {
    for (int thread = 1; thread < threads; ++thread)
      others.emplace_back([&team, &work, thread] {
        team.wait(nullptr);
        work(*team.load(), thread);
      });
  } catch (const std::system_error&) {  // as many as there are will do
  }
  Team whole(static_cast<int>(others.size()) + 1);
  team.store(&whole);
  team.notify_all();
  work(whole, 0);
  for (std::thread& other : others) other.join();
}

}  // namespace finerank
