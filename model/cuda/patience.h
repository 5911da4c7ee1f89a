// private header
#pragma once

#include <chrono>
#include <thread>

namespace vitower {

// Asks `reached` until it says so: without a pause at first, so that a short wait ends at once, then with short sleeps,
// so that a long one costs no core. False once `limit` has passed.
template <typename Reached>
bool WaitPatiently(const Reached& reached, std::chrono::nanoseconds limit) {
  constexpr std::chrono::milliseconds kEager(3);
  constexpr std::chrono::microseconds kNap(20);
  const auto begin = std::chrono::steady_clock::now();
  while (!reached()) {
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited > limit) return false;
    if (waited > kEager) std::this_thread::sleep_for(kNap);
  }
  return true;
}

}  // namespace vitower
