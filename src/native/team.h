// Threads for one forward pass: they start with it and end with it.
//
// Starting a thread takes some 20 us, against milliseconds for a pass; in return nothing spins or has to be stopped
// between passes, a fork is safe, and passes of several Python threads do not know of each other.
#pragma once

#include <atomic>
#include <functional>

namespace finerank {

// What the threads of a team share: where to wait for each other.
class Team {
 public:
  explicit Team(int size) : size_(size) {}
  int size() const { return size_; }
  // Returns when all of the team have come here.
  void meet();

 private:
  const int size_;
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> meetings_{0};
};

// Runs work(team, thread) on up to `threads` threads, the caller's among them; on fewer if the system has no more.
void run_team(int threads, const std::function<void(Team&, int)>& work);

}  // namespace finerank
