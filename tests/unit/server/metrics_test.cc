#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "server/memory_limit.h"
#include "tests/support/puppet_encoder.h"

namespace vitower {
namespace {

using testing::HasSubstr;
using testing::Not;

// Dashboards and alerts stand on these names.
constexpr const char* kNames[] = {
    "process_cpu_seconds_total counter",
    "process_max_fds gauge",
    "process_open_fds gauge",
    "process_resident_memory_bytes gauge",
    "process_start_time_seconds gauge",
    "process_threads gauge",
    "process_virtual_memory_bytes gauge",
    "vitower_auth_failures_total counter",
    "vitower_batch_fill_ratio histogram",
    "vitower_batch_items histogram",
    "vitower_batch_patches histogram",
    "vitower_batch_stage_duration_seconds histogram",
    "vitower_build_info gauge",
    "vitower_bytes_received_total counter",
    "vitower_bytes_sent_total counter",
    "vitower_connections gauge",
    "vitower_connections_total counter",
    "vitower_cache_bytes gauge",
    "vitower_cache_evictions_total counter",
    "vitower_cache_hits_total counter",
    "vitower_cache_misses_total counter",
    "vitower_device_budget_patches gauge",
    "vitower_device_busy_seconds_total counter",
    "vitower_device_memory_bytes gauge",
    "vitower_device_up gauge",
    "vitower_dropped_total counter",
    "vitower_inflight_bytes gauge",
    "vitower_items_total counter",
    "vitower_memory_limit_bytes gauge",
    "vitower_model_info gauge",
    "vitower_nonfinite_items_total counter",
    "vitower_patches_total counter",
    "vitower_queue_items gauge",
    "vitower_queue_patches gauge",
    "vitower_rejected_total counter",
    "vitower_reloads_total counter",
    "vitower_request_duration_seconds histogram",
    "vitower_stage_duration_seconds histogram",
    "vitower_state gauge",
    "vitower_tls_certificate_expiry_timestamp_seconds gauge",
    "vitower_tokens_total counter",
};

std::set<std::string> NamesIn(const std::string& text) {
  std::set<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) names.insert(line.substr(7));
  }
  return names;
}

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() { metrics_.SetModel(PuppetInfo(), {"puppet:0"}); }
  Metrics metrics_;
};

TEST_F(MetricsTest, TheNamesAreTheGoldenOnes) {
  EXPECT_EQ(NamesIn(metrics_.Text()), std::set<std::string>(std::begin(kNames), std::end(kNames)));
}

TEST_F(MetricsTest, KnownSeriesExistFromTheStart) {
  const std::string text = metrics_.Text();
  for (const std::string_view stage : kStageNames) {
    EXPECT_THAT(text, HasSubstr("vitower_stage_duration_seconds_count{stage=\"" + std::string(stage) + "\"} 0\n"));
  }
  EXPECT_THAT(text, HasSubstr("vitower_batch_stage_duration_seconds_count{stage=\"blocks\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("vitower_batch_stage_duration_seconds_count{stage=\"decode\"}")));
  EXPECT_THAT(text, HasSubstr("vitower_rejected_total{method=\"Embed\",reason=\"queue_full\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("vitower_rejected_total{method=\"EmbedStream\",reason=\"no_device\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("vitower_dropped_total{reason=\"expired\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("vitower_items_total{code=\"OK\",kind=\"image\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("vitower_device_busy_seconds_total{device=\"puppet:0\"} 0\n"));
}

TEST_F(MetricsTest, ADeviceIsUpWhileAllItsEncodersAre) {
  Metrics metrics;
  metrics.SetModel(PuppetInfo(), {"cuda:0", "cuda:0"});
  const auto up = [&metrics] {
    return testing::Value(metrics.Text(), HasSubstr("vitower_device_up{device=\"cuda:0\"} 1\n"));
  };
  metrics.SetDeviceUp("cuda:0", 0, true);
  EXPECT_FALSE(up());
  metrics.SetDeviceUp("cuda:0", 1, true);
  EXPECT_TRUE(up());
  metrics.SetDeviceUp("cuda:0", 0, false);
  metrics.SetDeviceUp("cuda:0", 1, true);
  EXPECT_FALSE(up());
}

TEST_F(MetricsTest, ARefusalIsCountedForItsMethod) {
  metrics_.CountRejected("EmbedStream", Fault::kQueueFull);
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_rejected_total{method=\"EmbedStream\",reason=\"queue_full\"} 1\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_rejected_total{method=\"Embed\",reason=\"queue_full\"} 0\n"));
}

TEST_F(MetricsTest, TheMemoryThatTheProcessMayUseIsThere) {
  const std::string text = metrics_.Text();
  const std::string name = "\nvitower_memory_limit_bytes ";
  ASSERT_THAT(text, HasSubstr(name));
  EXPECT_EQ(std::stod(text.substr(text.find(name) + name.size())), static_cast<double>(UsableMemoryBytes()));
}

TEST_F(MetricsTest, AStageIsCountedInItsOwnSeries) {
  metrics_.ObserveStage(Stage::kResize, 0.5);
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_stage_duration_seconds_sum{stage=\"resize\"} 0.5\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_stage_duration_seconds_count{stage=\"decode\"} 0\n"));
}

TEST_F(MetricsTest, ABatchIsCountedWithItsStagesAndItsFill) {
  ForwardTimes times;
  times.merger = std::chrono::milliseconds(250);
  metrics_.ObserveBatch(times, /*items=*/3, /*patches=*/512, /*budget_patches=*/1024);
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_batch_stage_duration_seconds_sum{stage=\"merger\"} 0.25\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_batch_items_sum 3\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_batch_patches_sum 512\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_batch_fill_ratio_sum 0.5\n"));
}

TEST_F(MetricsTest, InfosCarryTheirLabels) {
  EXPECT_THAT(metrics_.Text(), HasSubstr("fingerprint=\"0123abcd\""));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_build_info{version=\"0."));
  EXPECT_THAT(metrics_.Text(), HasSubstr("vitower_device_memory_bytes{device=\"puppet:0\",kind=\"weights\"} 4096\n"));
}

TEST_F(MetricsTest, AnAddressThatCannotBeBoundIsNamed) {
  const absl::StatusOr<int> first = metrics_.Listen("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_GT(*first, 0);
  const std::string taken = "127.0.0.1:" + std::to_string(*first);
  const absl::StatusOr<int> second = Metrics().Listen(taken);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(taken + " (--metrics-listen)"));
}

}  // namespace
}  // namespace vitower
