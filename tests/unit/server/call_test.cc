#include "server/call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/job.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using std::chrono_literals::operator""s;

TEST(Call, CompletesWithTheLastAnswerAndKeepsTheOrder) {
  TestCall test(3);
  for (const size_t index : {2, 0, 1}) {
    EXPECT_EQ(test.completions, 0);
    Fail(MakeJob(test, index, 4), absl::InvalidArgumentError(std::to_string(index)), TimePoint());
  }
  EXPECT_EQ(test.completions, 1);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(test.call->answers()[i].result.id(), "item-" + std::to_string(i));
    EXPECT_EQ(test.call->answers()[i].result.status().message(), std::to_string(i));
  }
}

TEST(Call, DoesNotCompleteBeforeItIsSealed) {
  int completions = 0;
  v1::EmbedRequest request;
  request.add_items();
  Call call({}, request, [&] { ++completions; });
  call.Answer(0, {});
  EXPECT_EQ(completions, 0);
  call.Seal();
  EXPECT_EQ(completions, 1);
}

TEST(Call, AbortAnswersOnlyWhatIsMissing) {
  TestCall test(2);
  Fail(MakeJob(test, 0, 4), absl::OkStatus(), TimePoint());
  test.call->Abort(absl::UnavailableError("stopped"), TimePoint());
  EXPECT_EQ(test.completions, 1);
  EXPECT_EQ(test.code(0), 0U);
  EXPECT_EQ(test.code(1), 14U);
}

TEST(Call, AnAnswerAfterAbortChangesNothing) {
  TestCall test(1);
  std::unique_ptr<Job> late = MakeJob(test, 0, 4);
  test.call->Abort(absl::UnavailableError("stopped"), TimePoint());
  Fail(std::move(late), absl::OkStatus(), TimePoint());
  EXPECT_EQ(test.completions, 1);
  EXPECT_EQ(test.code(0), 14U);
}

TEST(Call, SaysWhyItIsGone) {
  const TimePoint deadline = TimePoint() + 10s;
  TestCall test(1, deadline);
  EXPECT_EQ(test.call->Gone(deadline - 1s), std::nullopt);
  EXPECT_EQ(test.call->Gone(deadline), Fault::kExpired);
  test.call->Cancel();
  EXPECT_EQ(test.call->Gone(deadline - 1s), Fault::kCancelled);
  test.call->Abort(absl::UnavailableError("stopped"), TimePoint());
  EXPECT_EQ(test.call->Gone(deadline - 1s), Fault::kAbandoned);
}

TEST(Call, GivesEachItemOnce) {
  TestCall test(2);
  EXPECT_EQ(test.call->TakeItem(1).image(), "bytes");
  EXPECT_EQ(test.call->TakeItem(1).image(), "");
  EXPECT_EQ(test.call->kinds()[1], "image");
  test.call->Abort(absl::OkStatus(), TimePoint());
}

TEST(Job, AnUnansweredJobAnswersInternalWhenItIsDestroyed) {
  TestCall test(1);
  MakeJob(test, 0, 4).reset();
  EXPECT_EQ(test.completions, 1);
  EXPECT_EQ(test.code(0), 13U);
}

TEST(FailedAnswer, TellsHowFarTheItemCame) {
  StageTimes times;
  times.Set(Stage::kReceive, 1s);
  times.Set(Stage::kDecode, 3s);
  const ItemAnswer answer = FailedAnswer(absl::InternalError("broken"), times, TimePoint());
  EXPECT_EQ(answer.result.times().receive_seconds(), 1);
  EXPECT_EQ(answer.result.times().decode_seconds(), 3);
  EXPECT_EQ(answer.result.times().blocks_seconds(), 0);
}

}  // namespace
}  // namespace vitower
