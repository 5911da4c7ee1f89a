// private header
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace vitower {

// A few of one kind, each lent to one borrower at a time. Thread-safe; must outlive its loans.
template <typename T>
class Lending final {
 public:
  struct Return {
    Lending* lending;
    void operator()(T* one) const {
      {
        const std::lock_guard lock(lending->mu_);
        lending->free_.push_back(one);
      }
      lending->returned_.notify_one();
    }
  };
  using Loan = std::unique_ptr<T, Return>;

  explicit Lending(size_t count) : all_(count) {
    for (T& one : all_) free_.push_back(&one);
  }
  Lending(const Lending&) = delete;
  Lending& operator=(const Lending&) = delete;

  // Blocks while all are out.
  Loan Take() {
    std::unique_lock lock(mu_);
    returned_.wait(lock, [this] { return !free_.empty(); });
    T* one = free_.back();
    free_.pop_back();
    return {one, Return{this}};
  }

 private:
  std::vector<T> all_;
  std::mutex mu_;
  std::condition_variable returned_;
  std::vector<T*> free_;
};

}  // namespace vitower
