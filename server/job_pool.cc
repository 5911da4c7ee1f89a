#include "server/job_pool.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "server/log.h"
#include "server/text.h"

namespace vitower {

void NameThisThread(const std::string& name) { pthread_setname_np(pthread_self(), name.substr(0, 15).c_str()); }

JobPool::JobPool(const std::string& name, int threads, Step step, IsLong is_long)
    : step_(std::move(step)), is_long_(std::move(is_long)), most_long_(std::max(1, threads - 1)) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, name] {
      NameThisThread(name);
      Run();
    });
  }
}

JobPool::~JobPool() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  threads_.clear();
}

void JobPool::Post(std::unique_ptr<Job> job) {
  {
    MutexLock lock(mu_);
    Put(std::move(job));
  }
  changed_.NotifyOne();
}

void JobPool::Post(Jobs jobs) {
  {
    MutexLock lock(mu_);
    for (std::unique_ptr<Job>& job : jobs) Put(std::move(job));
  }
  changed_.NotifyAll();
}

void JobPool::Put(std::unique_ptr<Job> job) {
  Queue& queue = is_long_(*job) ? long_queue_ : queue_;
  queue.push_back({next_number_++, std::move(job)});
}

// The queue whose first job is next; nullptr where none may run.
JobPool::Queue* JobPool::Ready() {
  const bool may_be_long = !long_queue_.empty() && running_long_ < most_long_;
  if (may_be_long && (queue_.empty() || long_queue_.front().number < queue_.front().number)) return &long_queue_;
  return queue_.empty() ? nullptr : &queue_;
}

// Nobody is woken for a long job that has ended: the thread that ran it takes the next. So a thread may end while long
// jobs are queued.
std::unique_ptr<Job> JobPool::Next(bool& is_long) {
  MutexLock lock(mu_);
  if (is_long) --running_long_;
  Queue* queue = nullptr;
  while ((queue = Ready()) == nullptr && !stopping_) changed_.Wait(mu_);
  is_long = queue == &long_queue_;
  if (queue == nullptr) return nullptr;
  if (is_long) ++running_long_;
  std::unique_ptr<Job> job = std::move(queue->front().job);
  queue->pop_front();
  return job;
}

void JobPool::Run() {
  bool is_long = false;
  while (std::unique_ptr<Job> job = Next(is_long)) RunStep(std::move(job));
}

void JobPool::RunStep(std::unique_ptr<Job> job) {
  const std::string request_id = job->call().start().request_id;
  try {
    step_(std::move(job));
  } catch (const std::exception& error) {
    Log(LogLevel::kError, Cat("an item was given up: ", error.what()), request_id);
  }
}

}  // namespace vitower
