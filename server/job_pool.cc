#include "server/job_pool.h"

#include <pthread.h>

#include <exception>
#include <utility>

#include "server/log.h"
#include "server/text.h"

namespace vitower {

void NameThisThread(const std::string& name) { pthread_setname_np(pthread_self(), name.substr(0, 15).c_str()); }

JobPool::JobPool(const std::string& name, int threads, Step step) : step_(std::move(step)) {
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
    queue_.push_back(std::move(job));
  }
  changed_.NotifyOne();
}

void JobPool::Post(Jobs jobs) {
  {
    MutexLock lock(mu_);
    for (std::unique_ptr<Job>& job : jobs) queue_.push_back(std::move(job));
  }
  changed_.NotifyAll();
}

std::unique_ptr<Job> JobPool::Next() {
  MutexLock lock(mu_);
  while (queue_.empty() && !stopping_) changed_.Wait(mu_);
  if (queue_.empty()) return nullptr;
  std::unique_ptr<Job> job = std::move(queue_.front());
  queue_.pop_front();
  return job;
}

void JobPool::Run() {
  while (std::unique_ptr<Job> job = Next()) {
    const std::string request_id = job->call().start().request_id;
    try {
      step_(std::move(job));
    } catch (const std::exception& error) {
      Log(LogLevel::kError, Cat("an item was given up: ", error.what()), request_id);
    }
  }
}

}  // namespace vitower
