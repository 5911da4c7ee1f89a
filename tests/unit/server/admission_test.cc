#include "server/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "server/metrics.h"
#include "tests/support/fake_clock.h"

namespace vitower {
namespace {

using testing::HasSubstr;

class AdmissionTest : public testing::Test {
 protected:
  Refusal Refused(const Need& need) {
    auto result = admission_.TryAcquire(need);
    return std::holds_alternative<Refusal>(result) ? std::get<Refusal>(result) : Refusal{Fault::kInternal, "admitted"};
  }
  Permit Admitted(const Need& need) { return std::get<Permit>(admission_.TryAcquire(need)); }

  FakeClock clock_;
  Metrics metrics_;
  Admission admission_{{/*queue_patches=*/16384, /*inflight_bytes=*/1000}, metrics_, clock_};
};

TEST_F(AdmissionTest, FullQueueIsRefusedAtOnceWithTheNumbers) {
  const Permit permit = Admitted({1, 16384, 0});
  const Refusal refusal = Refused({1, 512, 0});
  EXPECT_EQ(refusal.fault, Fault::kQueueFull);
  EXPECT_EQ(refusal.message,
            "queue is full: 16384 patches in flight, the call needs 512, the limit (--max-queue-patches) is 16384");
}

TEST_F(AdmissionTest, ExactlyTheLimitIsAdmitted) {
  const Permit first = Admitted({1, 16000, 0});
  const Permit second = Admitted({1, 384, 1000});
  EXPECT_EQ(Refused({1, 4, 0}).fault, Fault::kQueueFull);
}

TEST_F(AdmissionTest, ACallThatCouldNeverFitNamesTheLimit) {
  EXPECT_EQ(Refused({1, 16388, 0}).fault, Fault::kCallTooLarge);
  EXPECT_THAT(Refused({1, 16388, 0}).message, HasSubstr("--max-queue-patches) is 16384"));
  EXPECT_EQ(Refused({1, 4, 1001}).fault, Fault::kCallTooLarge);
  EXPECT_THAT(Refused({1, 4, 1001}).message, HasSubstr("--max-inflight-bytes) is 1000"));
}

TEST_F(AdmissionTest, FullBytesAreRefused) {
  const Permit permit = Admitted({1, 4, 900});
  EXPECT_EQ(Refused({1, 4, 101}).fault, Fault::kBytesFull);
}

TEST_F(AdmissionTest, ARefusedCallHoldsNothing) {
  const Permit permit = Admitted({1, 10000, 0});
  EXPECT_EQ(Refused({1, 10000, 500}).fault, Fault::kQueueFull);
  clock_.Advance(std::chrono::seconds(1));  // nor has it a claim any more
  const Permit other = Admitted({1, 1000, 1000});
}

TEST_F(AdmissionTest, APermitGivesBackWhatItHoldsOnce) {
  {
    Permit permit = Admitted({1, 16384, 1000});
    const Permit moved = std::move(permit);
    EXPECT_EQ(Refused({1, 4, 0}).fault, Fault::kQueueFull);
  }
  const Permit again = Admitted({1, 16384, 1000});
  EXPECT_EQ(Refused({1, 4, 0}).fault, Fault::kQueueFull);
}

TEST_F(AdmissionTest, BytesStayUntilTheReplyIsSent) {
  Permit permit = Admitted({1, 16384, 1000});
  permit.ReleaseItems();
  EXPECT_EQ(Refused({1, 16384, 1}).fault, Fault::kBytesFull);
  const Permit patches_only = Admitted({1, 16384, 0});
}

TEST_F(AdmissionTest, ACorrectionMayExceedTheLimitAndIsGivenBack) {
  {
    const Permit permit = Admitted({1, 16000, 500});
    permit.share().Correct({0, 1000, 600});
    EXPECT_EQ(permit.held().patches, 17000);
    EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_queue_patches 17000\n"));
    EXPECT_EQ(Refused({1, 4, 0}).fault, Fault::kQueueFull);
    permit.share().Correct({0, -16000, -1000});
    const Permit other = Admitted({1, 13336, 400});  // seven eighths with what is held: it is a large call
  }
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_queue_patches 0\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_inflight_bytes 0\n"));
}

TEST_F(AdmissionTest, ACorrectionThatComesLateChangesNothing) {
  PermitShare().Correct({0, 4, 4});
  PermitShare share;
  {
    Permit permit = Admitted({1, 100, 500});
    share = permit.share();
    permit.ReleaseItems();
    share.Correct({0, 1000, 100});
    EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_inflight_bytes 500\n"));
  }
  share.Correct({0, 1000, 100});
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_queue_patches 0\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_inflight_bytes 0\n"));
}

TEST_F(AdmissionTest, TheRetryHintIsWhatIsTooMuchAtTheRateOfTheLastSecond) {
  std::vector<Permit> inside;
  for (int i = 0; i < 16; ++i) inside.push_back(Admitted({1, 1024, 0}));
  EXPECT_EQ(Refused({1, 1024, 0}).retry_after.count(), 200);  // nothing has left yet
  clock_.Advance(std::chrono::seconds(1));
  inside.resize(12);  // 4096 patches a second
  for (int i = 0; i < 4; ++i) inside.push_back(Admitted({1, 1024, 0}));
  EXPECT_EQ(Refused({1, 8, 0}).retry_after.count(), 20);
  EXPECT_EQ(Refused({1, 1024, 0}).retry_after.count(), 250);
  clock_.Advance(std::chrono::milliseconds(1500));  // half of that second is out of sight
  EXPECT_EQ(Refused({1, 1024, 0}).retry_after.count(), 500);
}

TEST_F(AdmissionTest, GaugesFollow) {
  {
    Permit permit = Admitted({3, 120, 70});
    EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_queue_items 3\n"));
    EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_queue_patches 120\n"));
    EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_inflight_bytes 70\n"));
  }
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_queue_items 0\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_inflight_bytes 0\n"));
}

}  // namespace
}  // namespace vitower
