#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace vitower {

// Calls body(i) once for each i in [0, count) on up to `threads` threads, the caller's among them, and returns when all
// are done. `body` must not throw. For work outside torch's own pool: loading, hashing, drawing.
template <typename Body>
void ParallelFor(int threads, int64_t count, const Body& body) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) body(i);
  };
  std::vector<std::jthread> helpers;
  for (int64_t i = 1; i < threads && i < count; ++i) helpers.emplace_back(work);
  work();
}

}  // namespace vitower
