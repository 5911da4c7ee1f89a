#include "server/devices.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/fake_clock.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

class TwoEncodersEachTest : public testing::Test {
 protected:
  FakeClock clock_;
  Batcher batcher_{{/*budget_patches=*/100, std::chrono::nanoseconds(0), [](auto job, Fault) { job.reset(); }}, clock_};
  std::optional<bool> any_works_;
  Devices devices_{{"cuda:0", "cuda:0", "cuda:1", "cuda:1"}, batcher_, [this](bool any) { any_works_ = any; }};
};

TEST_F(TwoEncodersEachTest, AnEncoderOfTheSameDeviceIsNoOtherDevice) {
  const Devices::Loss first = devices_.Lost(0);
  EXPECT_EQ(first.encoders_left, 3);
  EXPECT_EQ(first.other_devices_left, 1);
  const Devices::Loss second = devices_.Lost(2);
  EXPECT_EQ(second.encoders_left, 2);
  EXPECT_EQ(second.other_devices_left, 1);
  EXPECT_EQ(devices_.Lost(3).other_devices_left, 1);
  EXPECT_FALSE(devices_.AllWork());
  EXPECT_EQ(any_works_, true);
}

TEST_F(TwoEncodersEachTest, WhatIsQueuedIsHandedBackWhenTheLastEncoderGoes) {
  TestCall call(1);
  std::unique_ptr<Job> job = MakeJob(call, 0, 8);
  ASSERT_EQ(batcher_.Submit(job), std::nullopt);
  for (const size_t index : {2, 0, 3}) EXPECT_TRUE(devices_.Lost(index).orphans.empty());
  Devices::Loss last = devices_.Lost(1);
  EXPECT_EQ(last.other_devices_left, 0);
  ASSERT_EQ(last.orphans.size(), 1U);
  EXPECT_EQ(any_works_, false);
  Fail(std::move(last.orphans[0]), absl::OkStatus(), clock_.Now());
  devices_.Back(1);
  EXPECT_EQ(any_works_, true);
}

}  // namespace
}  // namespace vitower
