#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/job.h"
#include "server/mutex.h"

namespace vitower {

// Names the calling thread for debuggers and `top -H`; the system keeps 15 characters.
void NameThisThread(const std::string& name);

// A few threads that do one thing to jobs, in the order they came. Its length is bounded by admission, not here.
// Thread-safe; Post does not block. The destructor runs what is queued and joins: it blocks for that long.
class JobPool final {
 public:
  using Step = std::function<void(std::unique_ptr<Job>)>;

  // `step` is called by several threads at once. What it throws is logged; its job, if not answered, is answered with
  // INTERNAL by its destructor.
  JobPool(const std::string& name, int threads, Step step);
  ~JobPool();
  JobPool(const JobPool&) = delete;
  JobPool& operator=(const JobPool&) = delete;

  void Post(std::unique_ptr<Job> job);
  void Post(Jobs jobs);

 private:
  std::unique_ptr<Job> Next();
  void Run();

  const Step step_;
  Mutex mu_;
  CondVar changed_;
  std::deque<std::unique_ptr<Job>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace vitower
