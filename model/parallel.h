#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace vitower {

// Calls body(i) once for each i in [0, count) on up to `threads` threads, the caller's among them, and returns when all
// are done; on fewer where the system gives no more. If `body` throws, no further call is begun and the first exception
// is thrown here, once the others have returned. For work outside torch's own pool: loading, hashing, drawing.
template <typename Body>
void ParallelFor(int threads, int64_t count, const Body& body) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written by the one who sets `failed`, read when all are joined
  const auto work = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      next = count;
      if (!failed.exchange(true)) error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    try {
      for (int64_t i = 1; i < threads && i < count; ++i) helpers.emplace_back(work);
    } catch (const std::system_error&) {
    }
    work();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace vitower
