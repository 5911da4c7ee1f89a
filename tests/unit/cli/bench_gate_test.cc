#include "cli/bench_gate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

namespace vitower {
namespace {

using std::chrono::hours;
using std::chrono::steady_clock;

TEST(PoissonArrivals, GapsHaveTheMeanAndTheSpreadOfAnExponential) {
  PoissonArrivals arrivals(200, 1);
  constexpr int kCount = 100'000;
  double before = 0;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double at = std::chrono::duration<double>(arrivals.Next()).count();
    ASSERT_GE(at, before);
    sum += at - before;
    squares += (at - before) * (at - before);
    before = at;
  }
  const double mean = sum / kCount;
  EXPECT_NEAR(mean, 0.005, 0.005 * 0.02);  // six standard deviations
  EXPECT_NEAR(std::sqrt(squares / kCount - mean * mean), mean, mean * 0.03);
}

TEST(PoissonArrivals, AreTheSameForTheSameSeedOnly) {
  PoissonArrivals one(10, 5);
  PoissonArrivals same(10, 5);
  PoissonArrivals other(10, 6);
  const auto first = one.Next();
  EXPECT_EQ(first, same.Next());
  EXPECT_NE(first, other.Next());
}

TEST(LoadGate, AClosedLoopLetsOutNoMoreThanMayBeInFlight) {
  LoadGate gate({.max_in_flight = 2, .begin = steady_clock::now(), .end = steady_clock::now() + hours(1)});
  ASSERT_TRUE(gate.Next().has_value());
  ASSERT_TRUE(gate.Next().has_value());
  std::jthread third([&] { EXPECT_TRUE(gate.Next().has_value()); });
  gate.Done();
  third.join();
  gate.Stop();
  gate.Done();
  EXPECT_FALSE(gate.Next().has_value());
}

// No coordinated omission: what a slow server holds up still counts from when it was to go.
TEST(LoadGate, AnOpenLoopTellsWhenAnItemWasToGo) {
  const auto begin = steady_clock::now() - hours(1);
  LoadGate gate({.max_in_flight = 100, .rate = 1, .seed = 3, .begin = begin, .end = begin + hours(2)});
  PoissonArrivals arrivals(1, 3);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(gate.Next(), begin + arrivals.Next());
}

TEST(LoadGate, AnOpenLoopEndsWithItsTime) {
  const auto begin = steady_clock::now() - hours(1);
  LoadGate gate({.max_in_flight = 1000, .rate = 10, .begin = begin, .end = begin + std::chrono::seconds(10)});
  int count = 0;
  while (gate.Next()) ++count;
  EXPECT_EQ(count, 0);  // the time is over: what should have gone before is not sent afterwards
}

TEST(LoadGate, AwaitAllReturnsWhenAllIsAnswered) {
  LoadGate gate({.max_in_flight = 8, .begin = steady_clock::now(), .end = steady_clock::now() + hours(1)});
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(gate.Next().has_value());
  int answered = 0;
  std::jthread answers([&] {
    for (; answered < 8; gate.Done()) ++answered;
  });
  gate.AwaitAll();
  EXPECT_EQ(answered, 8);
}

}  // namespace
}  // namespace vitower
