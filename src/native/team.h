// Threads for one forward pass: they start with it and end with it.
//
// Starting a thread takes some 20 us, against milliseconds for a pass; in return nothing spins or has to be stopped
// between passes, a fork is safe, and passes of several Python threads do not know of each other.
#pragma once

#include <atomic>
#include <functional>

namespace finerank {

// A stage of a pass, in parts.
class Stage {
 public:
  // The next part: the stage's, or beyond them when all are taken.
  int take() { return taken_.fetch_add(1, std::memory_order_relaxed); }
  // To be called when there are none left to take: returns when all `parts` are done, of which the caller did `done`.
  void finish(int done, int parts);

 private:
  std::atomic<int> taken_{0}, done_{0};
};

// Runs work(size, thread) on up to `threads` threads, the caller's among them; on fewer if the system has no more.
void run_team(int threads, const std::function<void(int, int)>& work);

}  // namespace finerank
