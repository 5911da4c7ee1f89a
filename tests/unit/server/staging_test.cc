#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "server/worker.h"
#include "tests/support/fake_clock.h"
#include "tests/support/puppet_encoder.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using std::chrono_literals::operator""s;
using testing::HasSubstr;

// A pass of five seconds, three of them behind the pass of the device's other encoder.
class WaitingEncoder final : public Encoder {
 public:
  explicit WaitingEncoder(FakeClock& clock) : clock_(clock) {}

  const EncoderInfo& info() const override { return puppet_->info(); }

  absl::StatusOr<EncodedBatch> Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) override {
    clock_.Advance(5s);
    absl::StatusOr<EncodedBatch> batch = puppet_->Forward(items, wanted);
    if (batch.ok()) batch->times = {};
    if (batch.ok()) batch->times.behind = 3s;
    if (batch.ok()) batch->times.blocks = 2s;
    return batch;
  }

 private:
  FakeClock& clock_;
  const std::unique_ptr<Encoder> puppet_ = MakePuppetEncoder(std::make_shared<Puppet>());
};

TEST(Staging, TheWaitForTheOtherEncodersPassIsTheItemsQueueAndNotTheDevicesWork) {
  FakeClock clock;
  Metrics metrics;
  Tracer tracer(clock);
  Batcher batcher({/*budget_patches=*/256, /*max_delay=*/0s, [](auto job, Fault) { job.reset(); }}, clock);
  std::promise<void> warm;
  std::promise<Jobs> done;
  const auto lose = [](const Jobs&, const absl::Status& why) { FAIL() << why; };
  const Worker worker(std::make_unique<WaitingEncoder>(clock),
                      Worker::Parts{batcher, metrics, tracer, clock, /*index=*/0, /*budget_patches=*/256,
                                    /*stall_timeout=*/0s, [&](const absl::Status&) { warm.set_value(); },
                                    [&](Jobs jobs) { done.set_value(std::move(jobs)); }, lose, lose, [] {}});
  warm.get_future().get();
  TestCall call(1);
  std::unique_ptr<Job> job = MakeJob(call, 0, /*patches=*/8);
  job->plan.outputs.deepstack = {true, true};
  Frames frames;
  frames.grid = job->plan.grid;
  frames.rgb = std::vector<uint8_t>{10, 0, 0};
  job->input = std::make_shared<const JobInput>(std::move(frames));
  const TimePoint ready_at = clock.Now();
  ASSERT_EQ(batcher.Submit(job), std::nullopt);
  Jobs jobs = done.get_future().get();
  batcher.Stop();
  EXPECT_EQ(jobs[0]->times.spent(Stage::kQueue), 3s);
  EXPECT_EQ(jobs[0]->forward->downloaded_at - ready_at, 5s);
  EXPECT_THAT(metrics.Text(), HasSubstr("vitower_device_busy_seconds_total{device=\"puppet:0\"} 2\n"));
}

}  // namespace
}  // namespace vitower
