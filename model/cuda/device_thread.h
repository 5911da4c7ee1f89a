// private header
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace vitower {

// The one thread that talks to a device: libraries keep plans and the current device by thread, so that whatever was
// warmed up is found again whoever calls. Run blocks its caller until `body` has run, and throws what it throws; one
// caller at a time.
class DeviceThread final {
 public:
  DeviceThread() : thread_([this] { Loop(); }) { pthread_setname_np(thread_.native_handle(), "cuda"); }
  DeviceThread(const DeviceThread&) = delete;
  DeviceThread& operator=(const DeviceThread&) = delete;
  ~DeviceThread() {
    {
      const std::lock_guard lock(mu_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  void Run(const std::function<void()>& body) {
    std::unique_lock lock(mu_);
    body_ = &body;
    wake_.notify_all();
    wake_.wait(lock, [this] { return body_ == nullptr; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void Loop() {
    std::unique_lock lock(mu_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || body_ != nullptr; });
      if (body_ == nullptr) return;
      const std::function<void()>& body = *body_;
      lock.unlock();
      std::exception_ptr error;
      try {
        body();
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      error_ = error;
      body_ = nullptr;
      wake_.notify_all();
    }
  }

  std::mutex mu_;
  std::condition_variable wake_;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr error_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace vitower
