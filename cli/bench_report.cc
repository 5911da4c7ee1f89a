#include "cli/bench_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace vitower {
namespace {

using Json = nlohmann::ordered_json;

struct Percentile {
  const char* name;
  double percent;
};
constexpr Percentile kPercentiles[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}};

double PerSecond(int64_t count, const BenchTotals& totals) {
  return totals.window_seconds > 0 ? static_cast<double>(count) / totals.window_seconds : 0;
}

std::string LatencyLine(const std::string& name, Samples& samples) {
  std::string line = absl::StrFormat("%-22s %9d %10.3f", name, samples.count(), samples.Mean() * 1e3);
  for (const Percentile& p : kPercentiles) absl::StrAppendFormat(&line, " %10.3f", samples.Percentile(p.percent) * 1e3);
  return absl::StrFormat("%s %10.3f\n", line, samples.Max() * 1e3);
}

std::string LatencyTable(const BenchSetting& setting, BenchTotals& totals) {
  std::string text = absl::StrFormat("%-22s %9s %10s %10s %10s %10s %10s %10s\n", "latency, ms", "items", "mean", "p50",
                                     "p90", "p99", "p99.9", "max");
  text += LatencyLine("answered", totals.latency);
  for (size_t i = 0; setting.mix.size() > 1 && i < setting.mix.size(); ++i) {
    text += LatencyLine("  " + setting.mix[i].name, totals.part_latency[i]);
  }
  if (totals.refusal_latency.count() > 0) text += LatencyLine("refused (full)", totals.refusal_latency);
  return text;
}

std::string StageTableText(const BenchTotals& totals) {
  if (totals.stage_seconds.empty()) return "";
  double total = 0;
  for (const auto& [stage, sum] : totals.stage_seconds) total += sum;
  std::string text = absl::StrFormat("\n%-12s %10s %8s\n", "stage", "ms/item", "share");
  for (const auto& [stage, sum] : totals.stage_seconds) {
    absl::StrAppendFormat(&text, "%-12s %10.3f %7.1f%%\n", stage,
                          sum * 1e3 / static_cast<double>(totals.latency.count()), total > 0 ? sum / total * 100 : 0.0);
  }
  return text;
}

std::string ErrorText(const BenchTotals& totals) {
  std::string text;
  for (const auto& [code, count] : totals.errors) {
    absl::StrAppendFormat(&text, "%9d %s: %s\n", count, code, totals.error_texts.at(code));
  }
  return text.empty() ? "" : "\nerrors, warm-up included\n" + text;
}

Json LatencyJson(Samples& samples) {
  Json json = {{"count", samples.count()}, {"mean", samples.Mean()}};
  for (const Percentile& p : kPercentiles) json[p.name] = samples.Percentile(p.percent);
  json["max"] = samples.Max();
  return json;
}

Json PartsJson(const BenchSetting& setting, BenchTotals& totals) {
  Json parts = Json::array();
  for (size_t i = 0; i < setting.mix.size(); ++i) {
    parts.push_back({{"name", setting.mix[i].name},
                     {"share", setting.mix[i].share},
                     {"latency_seconds", LatencyJson(totals.part_latency[i])}});
  }
  return parts;
}

Json ErrorsJson(const BenchTotals& totals) {
  Json errors = Json::object();
  for (const auto& [code, count] : totals.errors) {
    errors[code] = {{"count", count}, {"first_message", totals.error_texts.at(code)}};
  }
  return errors;
}

Json StagesJson(const BenchTotals& totals) {
  Json stages = Json::object();
  for (const auto& [stage, sum] : totals.stage_seconds)
    stages[stage] = sum / static_cast<double>(totals.latency.count());
  return stages;
}

Json TimelineJson(const BenchTotals& totals) {
  Json timeline = Json::array();
  for (const BenchSecond& second : totals.timeline) {
    timeline.push_back(
        {{"ok", second.ok}, {"ok_patches", second.ok_patches}, {"refused", second.refused}, {"failed", second.failed}});
  }
  return timeline;
}

}  // namespace

std::string BenchText(const BenchSetting& setting, BenchTotals& totals) {
  std::vector<std::string> parts;
  for (const MixPart& part : setting.mix) parts.push_back(absl::StrFormat("%s=%g", part.name, part.share));
  std::string text = absl::StrFormat("%s; %s; %s; %.1f s\n\n", absl::StrJoin(setting.servers, ", "), setting.load,
                                     absl::StrJoin(parts, ", "), totals.window_seconds);
  absl::StrAppendFormat(
      &text, "%.1f items/s, %.0f patches/s, %.1f MB/s sent, %.1f MB/s received, %.1f items a batch\n\n",
      PerSecond(totals.items, totals), PerSecond(totals.patches, totals), PerSecond(totals.sent_bytes, totals) / 1e6,
      PerSecond(totals.received_bytes, totals) / 1e6, totals.batch_items.Mean());
  return text + LatencyTable(setting, totals) + StageTableText(totals) + ErrorText(totals);
}

std::string BenchJson(const BenchSetting& setting, BenchTotals& totals) {
  const Json json = {{"servers", setting.servers},
                     {"load", setting.load},
                     {"began_at_unix_seconds", totals.began_at},
                     {"window_seconds", totals.window_seconds},
                     {"items", totals.items},
                     {"items_per_second", PerSecond(totals.items, totals)},
                     {"patches_per_second", PerSecond(totals.patches, totals)},
                     {"sent_bytes_per_second", PerSecond(totals.sent_bytes, totals)},
                     {"received_bytes_per_second", PerSecond(totals.received_bytes, totals)},
                     {"batch_items_mean", totals.batch_items.Mean()},
                     {"latency_seconds", LatencyJson(totals.latency)},
                     {"refusal_latency_seconds", LatencyJson(totals.refusal_latency)},
                     {"mix", PartsJson(setting, totals)},
                     {"stage_seconds_mean", StagesJson(totals)},
                     {"errors", ErrorsJson(totals)},
                     {"timeline", TimelineJson(totals)}};
  return json.dump(2) + "\n";
}

}  // namespace vitower
