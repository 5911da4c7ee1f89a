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

// A few threads that do one thing to jobs, in the order they came. Jobs that may take very long leave one thread to the
// others, where there are two threads: others overtake them then. Its length is bounded by admission, not here.
// Thread-safe; Post does not block. The destructor runs what is queued and joins: it blocks for that long.
class JobPool final {
 public:
  using Step = std::function<void(std::unique_ptr<Job>)>;
  using IsLong = std::function<bool(const Job&)>;

  // `step` is called by several threads at once. What it throws is logged; its job, if not answered, is answered with
  // INTERNAL by its destructor.
  JobPool(
      const std::string& name, int threads, Step step, IsLong is_long = [](const Job&) { return false; });
  ~JobPool();
  JobPool(const JobPool&) = delete;
  JobPool& operator=(const JobPool&) = delete;

  void Post(std::unique_ptr<Job> job);
  void Post(Jobs jobs);

 private:
  struct Queued {
    uint64_t number = 0;
    std::unique_ptr<Job> job;
  };
  using Queue = std::deque<Queued>;

  void Put(std::unique_ptr<Job> job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Queue* Ready() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::unique_ptr<Job> Next(bool& is_long);
  void Run();
  void RunStep(std::unique_ptr<Job> job);

  const Step step_;
  const IsLong is_long_;
  const int most_long_;  // at once
  Mutex mu_;
  CondVar changed_;
  Queue queue_ ABSL_GUARDED_BY(mu_);
  Queue long_queue_ ABSL_GUARDED_BY(mu_);
  uint64_t next_number_ ABSL_GUARDED_BY(mu_) = 0;
  int running_long_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace vitower
