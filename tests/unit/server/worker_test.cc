#include "server/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <set>

#include "tests/support/fake_clock.h"
#include "tests/support/puppet_encoder.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::HasSubstr;

constexpr int64_t kBudget = 256;
constexpr int64_t kSize = 8;  // patches of a job

class WorkerTest : public testing::Test {
 protected:
  ~WorkerTest() override {
    puppet_->Release();
    batcher_.Stop();
  }

  void StartWorker() {
    StartWarmUp();
    ASSERT_TRUE(warm_.get_future().get().ok());
  }
  void StartWarmUp() {
    const auto lose = [this](Jobs jobs, const absl::Status& why) {
      Answer(std::move(jobs), why);
      std::call_once(lost_once_, [&] { lost_.set_value(why); });
    };
    worker_ = std::make_unique<Worker>(
        MakePuppetEncoder(puppet_),
        Worker::Parts{batcher_, metrics_, tracer_, clock_, /*index=*/0, kBudget, /*stall_timeout=*/0s,
                      [this](const absl::Status& warm) { warm_.set_value(warm); },
                      [this](Jobs jobs) { Answer(std::move(jobs), absl::OkStatus()); }, lose, lose,
                      [this] { back_.set_value(); }});
  }
  void Answer(Jobs jobs, const absl::Status& status) {
    for (std::unique_ptr<Job>& job : jobs) Fail(std::move(job), status, clock_.Now());
  }

  // Jobs of one call in one batch, `poison` among them, behind a job that is held until they are there.
  void RunTogether(TestCall& call, size_t count, const std::set<size_t>& poison, int64_t patches = kSize) {
    puppet_->Hold();
    const size_t passes = puppet_->passes();
    Submit(first_, next_first_++, kSize, {});
    puppet_->AwaitPasses(passes + 1);
    for (size_t i = 0; i < count; ++i) {
      Submit(call, i, patches, poison.count(i) > 0 ? Colour{7, 8, 9} : Colour{10, 0, 0});
    }
    puppet_->Release();
  }
  // Ends the worker once everything is answered.
  void Finish() {
    batcher_.Stop();
    worker_.reset();
  }

  struct Colour {
    uint8_t red, green, blue;
  };
  void Submit(const TestCall& call, size_t index, int64_t patches, Colour colour) {
    std::unique_ptr<Job> job = MakeJob(call, index, patches);
    job->plan.outputs.deepstack = {true, true};
    Frames frames;
    frames.grid = job->plan.grid;
    frames.rgb = std::vector<uint8_t>{colour.red, colour.green, colour.blue};
    job->input = std::make_shared<const JobInput>(std::move(frames));
    ASSERT_EQ(batcher_.Submit(job), std::nullopt);
  }
  std::set<size_t> CodesOf(TestCall& call, size_t count, uint32_t code) {
    std::set<size_t> found;
    for (size_t i = 0; i < count; ++i) {
      if (call.code(i) == code) found.insert(i);
    }
    return found;
  }
  std::string BudgetLine(int64_t patches) {
    return "vitower_device_budget_patches{device=\"puppet:0\"} " + std::to_string(patches) + "\n";
  }

  FakeClock clock_;
  Metrics metrics_;
  Tracer tracer_{clock_};
  std::shared_ptr<Puppet> puppet_ = std::make_shared<Puppet>();
  TestCall first_{100};
  size_t next_first_ = 0;
  std::promise<absl::Status> warm_;
  std::promise<absl::Status> lost_;  // of the first time
  std::once_flag lost_once_;
  std::promise<void> back_;
  Batcher batcher_{{kBudget, 0s, [](auto job, Fault) { job.reset(); }}, clock_};
  std::unique_ptr<Worker> worker_;
};

struct Culprit {
  Puppet::Mood mood;
  size_t index;
};
class CulpritTest : public WorkerTest, public testing::WithParamInterface<Culprit> {};

TEST_P(CulpritTest, AloneIsRefusedAfterTwiceTheLogarithmOfTheBatch) {
  puppet_->SetPoison(GetParam().mood);
  StartWorker();
  TestCall call(32);
  RunTogether(call, 32, {GetParam().index});
  Finish();
  EXPECT_EQ(CodesOf(call, 32, 13), std::set<size_t>{GetParam().index});
  EXPECT_EQ(CodesOf(call, 32, 0).size(), 31U);
  EXPECT_EQ(puppet_->passes(), 1U + 1 + 1 + 1 + 2 * 5);  // warm-up, the held one, all, the trial, halves
}
INSTANTIATE_TEST_SUITE_P(Of32, CulpritTest,
                         testing::Values(Culprit{Puppet::Mood::kFail, 0}, Culprit{Puppet::Mood::kThrow, 13},
                                         Culprit{Puppet::Mood::kTooFewRows, 31}),
                         [](const auto& culprit) { return "Item" + std::to_string(culprit.param.index); });

TEST_F(WorkerTest, TwoCulpritsAreBothFound) {
  StartWorker();
  TestCall call(32);
  RunTogether(call, 32, {3, 20});
  Finish();
  EXPECT_EQ(CodesOf(call, 32, 13), (std::set<size_t>{3, 20}));
  EXPECT_LE(puppet_->passes(), 1U + 1 + 1 + 1 + 2 * 2 * 5);
}

TEST_F(WorkerTest, TheSearchForCulpritsHasAnEnd) {
  StartWorker();
  TestCall call(64);
  std::set<size_t> all;
  for (size_t i = 0; i < 64; ++i) all.insert(i);
  RunTogether(call, 64, all, /*patches=*/4);
  Finish();
  EXPECT_EQ(CodesOf(call, 64, 13), all);
  EXPECT_EQ(puppet_->passes(), 1U + 1 + 1 + 1 + 64);
}

class BrokenDeviceTest : public WorkerTest, public testing::WithParamInterface<Puppet::Mood> {};

TEST_P(BrokenDeviceTest, FailsItsOwnPictureGivesItsItemsAwayAndComesBack) {
  StartWorker();
  puppet_->SetMood(GetParam());
  TestCall call(2);
  RunTogether(call, 2, {});
  EXPECT_EQ(lost_.get_future().get().code(), absl::StatusCode::kUnavailable);
  clock_.AwaitWaiter();
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_device_up{device=\"puppet:0\"} 0\n"));
  puppet_->SetMood(Puppet::Mood::kWork);
  auto back = back_.get_future();
  // Real time may pass in the trial while the clock goes on: it may even be given up, and is made again.
  while (back.wait_for(1ms) != std::future_status::ready) clock_.Advance(1s);
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_device_up{device=\"puppet:0\"} 1\n"));
  Finish();
}
INSTANTIATE_TEST_SUITE_P(Moods, BrokenDeviceTest, testing::Values(Puppet::Mood::kFail, Puppet::Mood::kNoMemory),
                         [](const auto& mood) { return mood.param == Puppet::Mood::kFail ? "Fails" : "NoMemory"; });

TEST_F(WorkerTest, OutOfMemoryShrinksTheBudgetAndEveryItemIsEmbedded) {
  StartWorker();
  puppet_->SetMemory(kBudget / 4);
  TestCall call(32);
  RunTogether(call, 32, {});
  Finish();
  EXPECT_EQ(CodesOf(call, 32, 0).size(), 32U);
  EXPECT_EQ(puppet_->passes(), 1U + 1 + 1 + 2 + 4);  // warm-up, the held one, all, halves, quarters
  EXPECT_THAT(metrics_.Text(), HasSubstr(BudgetLine(kBudget / 4)));
}

TEST_F(WorkerTest, AnItemWithoutMemoryAloneIsRefusedForThat) {
  StartWorker();
  puppet_->SetMemory(kBudget);  // enough for the picture with which the device tries itself
  TestCall call(2);
  RunTogether(call, 2, {}, /*patches=*/kBudget + kSize);
  Finish();
  EXPECT_EQ(CodesOf(call, 2, 8).size(), 2U);
  EXPECT_THAT(call.call->answers()[0].result.status().message(), HasSubstr("no memory for the 264 patches"));
  EXPECT_THAT(metrics_.Text(), HasSubstr(BudgetLine(kBudget)));
}

TEST_F(WorkerTest, AStuckPassGivesItsItemsAwayAndTheDeviceComesBackWithIt) {
  StartWorker();
  puppet_->Hold();
  TestCall call(1);
  Submit(call, 0, kSize, {10, 0, 0});
  puppet_->AwaitPasses(2);
  auto lost = lost_.get_future();
  clock_.AwaitWaiter();
  clock_.Advance(59s);
  EXPECT_EQ(lost.wait_for(0s), std::future_status::timeout);
  clock_.Advance(1s);
  EXPECT_THAT(std::string(lost.get().message()), HasSubstr("device puppet:0 is stuck: a pass has taken more than 60"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_device_up{device=\"puppet:0\"} 0\n"));
  puppet_->Release();
  back_.get_future().get();
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_device_up{device=\"puppet:0\"} 1\n"));
  EXPECT_EQ(call.code(0), 14U);
  Finish();
}

TEST_F(WorkerTest, AWarmUpThatHangsIsToldOfAsFailedOnce) {
  puppet_->Hold();
  StartWarmUp();
  puppet_->AwaitPasses(1);
  clock_.AwaitWaiter();
  auto warm = warm_.get_future();
  clock_.Advance(599s);
  EXPECT_EQ(warm.wait_for(0s), std::future_status::timeout);
  clock_.Advance(1s);
  EXPECT_THAT(std::string(warm.get().message()), HasSubstr("is stuck: the warm-up has taken more than 600"));
  EXPECT_TRUE(absl::IsUnavailable(lost_.get_future().get()));
  puppet_->Release();
  back_.get_future().get();
  Finish();
}

TEST_F(WorkerTest, ALargeItemMayTakeLongerThanAFullBudget) {
  StartWorker();
  puppet_->Hold();
  TestCall call(1);
  Submit(call, 0, 2 * kBudget, {10, 0, 0});
  puppet_->AwaitPasses(2);
  clock_.AwaitWaiter();
  auto lost = lost_.get_future();
  clock_.Advance(119s);
  clock_.AwaitWaiter();
  EXPECT_EQ(lost.wait_for(0s), std::future_status::timeout);
  puppet_->Release();
  Finish();
  EXPECT_EQ(call.code(0), 0U);
}

TEST(DeviceBudget, HalvesDownToASixteenthAndGrowsByAnEighthEverySixteenPasses) {
  DeviceBudget budget(1024);
  for (const int64_t expected : {512, 256, 128, 64, 64}) {
    budget.Shrink(budget.patches());
    EXPECT_EQ(budget.patches(), expected);
  }
  for (const int64_t expected : {64 + 128, 64 + 256}) {
    for (int i = 0; i < 15; ++i) budget.PassWentWell();
    EXPECT_EQ(budget.patches(), expected - 128);
    budget.PassWentWell();
    EXPECT_EQ(budget.patches(), expected);
  }
  for (int i = 0; i < 1000; ++i) budget.PassWentWell();
  EXPECT_EQ(budget.patches(), 1024);
}

TEST(DeviceBudget, FollowsFromWhatThereWasNoMemoryFor) {
  DeviceBudget budget(1024);
  budget.Shrink(1025);
  EXPECT_EQ(budget.patches(), 1024);
  budget.Shrink(600);
  EXPECT_EQ(budget.patches(), 300);
  budget.Shrink(8);
  EXPECT_EQ(budget.patches(), 64);
  budget.Shrink(60);
  EXPECT_EQ(budget.patches(), 64);
}

class WarmUpTest : public testing::TestWithParam<int64_t> {};

TEST_P(WarmUpTest, FillsTheBudgetToTheLastToken) {
  const TowerConfig tower = PuppetInfo().tower;
  int64_t patches = 0;
  for (const Frames& frames : WarmUpFrames(tower, GetParam())) {
    EXPECT_EQ(frames.height, frames.grid.h * tower.patch_size);
    EXPECT_EQ(frames.width, frames.grid.w * tower.patch_size);
    EXPECT_EQ(static_cast<int64_t>(frames.rgb.size()), frames.height * frames.width * 3);
    EXPECT_EQ(frames.grid.h % tower.spatial_merge_size + frames.grid.w % tower.spatial_merge_size, 0);
    patches += frames.grid.patches();
  }
  EXPECT_EQ(patches, GetParam() / tower.merge_unit() * tower.merge_unit());
}
INSTANTIATE_TEST_SUITE_P(Budgets, WarmUpTest, testing::Values(4, 7, 100, 256, 1000, 1024, 8192));

}  // namespace
}  // namespace vitower
