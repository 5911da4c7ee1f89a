#include "server/tracer.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <future>
#include <nlohmann/json.hpp>

#include "tests/support/fake_clock.h"

namespace vitower {
namespace {

using nlohmann::json;
using std::chrono_literals::operator""h;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

class TracerTest : public testing::Test {
 protected:
  // What is recorded of what `body` does.
  template <typename Body>
  json Recorded(const Body& body) {
    auto recorded = std::async(std::launch::async, [&] { return tracer_.Record(5s); });
    clock_.AwaitWaiter();
    body();
    clock_.Advance(5s);
    return json::parse(*recorded.get()).at("traceEvents");
  }

  FakeClock clock_;
  Tracer tracer_{clock_};
};

TEST_F(TracerTest, OffItKeepsNothing) {
  EXPECT_FALSE(tracer_.on());
  tracer_.Span("early", clock_.Now(), clock_.Now() + 1h, {});
  EXPECT_EQ(Recorded([] {}).size(), 0U);
}

TEST_F(TracerTest, ASpanIsOnTheLaneOfItsThreadWithItsNumbers) {
  const json events = Recorded([&] {
    const TimePoint begin = clock_.Now();
    pthread_setname_np(pthread_self(), "tester");
    tracer_.Span("decode", begin + 2ms, begin + 5ms, {/*item=*/7, /*batch=*/0, /*patches=*/64});
  });
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0]["args"]["name"], "tester");
  EXPECT_EQ(events[0]["tid"], events[1]["tid"]);
  EXPECT_EQ(events[1]["ph"], "X");
  EXPECT_EQ(events[1]["ts"], 2000);
  EXPECT_EQ(events[1]["dur"], 3000);
  EXPECT_EQ(events[1]["args"], (json{{"item", 7}, {"patches", 64}}));
}

TEST_F(TracerTest, AWaitHasABeginAndAnEnd) {
  const json events = Recorded([&] { tracer_.Wait("queue", clock_.Now() - 1ms, clock_.Now() + 1ms, 7); });
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0]["ph"], "b");
  EXPECT_EQ(events[0]["ts"], -1000);
  EXPECT_EQ(events[1]["ph"], "e");
  EXPECT_EQ(events[1]["ts"], 1000);
  EXPECT_EQ(events[0]["id"], events[1]["id"]);
}

TEST_F(TracerTest, KeepsTheFirstSoMany) {
  auto recorded = std::async(std::launch::async, [&] { return tracer_.Record(5s); });
  clock_.AwaitWaiter();
  for (size_t i = 1; i <= Tracer::kMostEvents + 1; ++i) tracer_.Span("decode", clock_.Now(), clock_.Now(), {i});
  clock_.Advance(5s);
  const std::string trace = *recorded.get();
  EXPECT_NE(trace.find("\"item\":" + std::to_string(Tracer::kMostEvents) + "}"), std::string::npos);
  EXPECT_EQ(trace.find("\"item\":" + std::to_string(Tracer::kMostEvents + 1) + "}"), std::string::npos);
  EXPECT_EQ(Tracer::kMostEvents, 100'000U);
}

TEST_F(TracerTest, OneRecordsAtATimeAndStopEndsIt) {
  auto recorded = std::async(std::launch::async, [&] { return tracer_.Record(5s); });
  clock_.AwaitWaiter();
  EXPECT_EQ(tracer_.Record(5s).status().code(), absl::StatusCode::kFailedPrecondition);
  tracer_.Stop();
  EXPECT_TRUE(recorded.get().ok());
  EXPECT_FALSE(tracer_.Record(5s).ok());
}

}  // namespace
}  // namespace vitower
