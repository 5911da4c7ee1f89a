#include "cli/bench_recorder.h"

#include <algorithm>

#include "cli/stage_table.h"

namespace vitower {
namespace {

double SecondsBetween(BenchRecorder::TimePoint from, BenchRecorder::TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

BenchRecorder::BenchRecorder(size_t parts, TimePoint start, TimePoint window_begin, TimePoint window_end)
    : start_(start), window_begin_(window_begin), window_end_(window_end) {
  totals_.part_latency.resize(parts);
  totals_.began_at = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void BenchRecorder::Add(const BenchOutcome& outcome) {
  MutexLock lock(mu_);
  outcome.status.ok() ? ++progress_.items : ++progress_.errors;
  if (!outcome.status.ok()) AddError(outcome);
  AddToTimeline(outcome);
  if (outcome.begun >= window_begin_ && outcome.begun < window_end_) AddLatency(outcome);
  if (!outcome.status.ok() || outcome.ended < window_begin_ || outcome.ended >= window_end_) return;
  ++totals_.items;
  totals_.patches += outcome.patches;
  totals_.sent_bytes += outcome.sent_bytes;
  totals_.received_bytes += outcome.received_bytes;
}

void BenchRecorder::AddError(const BenchOutcome& outcome) {
  const std::string code = absl::StatusCodeToString(outcome.status.code());
  ++totals_.errors[code];
  totals_.error_texts.try_emplace(code, std::string(outcome.status.message()));
}

void BenchRecorder::AddToTimeline(const BenchOutcome& outcome) {
  const auto second = static_cast<size_t>(std::max(0.0, SecondsBetween(start_, outcome.ended)));
  if (second >= totals_.timeline.size()) totals_.timeline.resize(second + 1);
  BenchSecond& counts = totals_.timeline[second];
  if (outcome.status.ok()) counts.ok_patches += outcome.patches;
  outcome.status.ok()                                             ? ++counts.ok
  : outcome.status.code() == absl::StatusCode::kResourceExhausted ? ++counts.refused
                                                                  : ++counts.failed;
}

void BenchRecorder::AddLatency(const BenchOutcome& outcome) {
  const double seconds = SecondsBetween(outcome.begun, outcome.ended);
  if (outcome.status.code() == absl::StatusCode::kResourceExhausted) totals_.refusal_latency.Add(seconds);
  if (!outcome.status.ok()) return;
  totals_.latency.Add(seconds);
  totals_.part_latency[outcome.part].Add(seconds);
  totals_.batch_items.Add(static_cast<double>(outcome.batch_items));
  AddStageSeconds(outcome.stage_seconds, totals_.stage_seconds);
}

BenchRecorder::Progress BenchRecorder::progress() const {
  MutexLock lock(mu_);
  return progress_;
}

BenchTotals BenchRecorder::Take(TimePoint stopped_at) {
  MutexLock lock(mu_);
  totals_.window_seconds = std::max(0.0, SecondsBetween(window_begin_, std::min(window_end_, stopped_at)));
  return std::move(totals_);
}

}  // namespace vitower
