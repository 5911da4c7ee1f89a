#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "preprocess/video.h"

namespace vitower {
namespace {

constexpr double kDefaultSourceFps = 24;
constexpr int64_t kMaxSampledFrames = int64_t{1} << 20;

struct FrameRange {
  int64_t first = 0;
  int64_t end = 0;
};

bool IsRate(double value) { return std::isfinite(value) && value > 0; }

absl::Status CheckOptions(int64_t total, std::optional<double> source_fps, const SamplingOptions& options) {
  if (total < 1) return absl::InvalidArgumentError("the clip has no frames");
  if (source_fps && !IsRate(*source_fps)) {
    return absl::InvalidArgumentError(absl::StrCat("the clip's frames per second must be positive, got ", *source_fps));
  }
  if (!options.num_frames && !IsRate(options.fps)) {
    return absl::InvalidArgumentError(absl::StrCat("sampling fps must be positive, got ", options.fps));
  }
  if (options.num_frames && (*options.num_frames < 1 || *options.num_frames > kMaxSampledFrames)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampling num_frames must be in [1, ", kMaxSampledFrames, "], got ", *options.num_frames));
  }
  if (options.min_frames < 1 || options.max_frames < 1) {
    return absl::InvalidArgumentError(absl::StrCat("sampling min_frames and max_frames must be positive, got ",
                                                   options.min_frames, " and ", options.max_frames));
  }
  return absl::OkStatus();
}

// The first frame of `total` that is shown at `seconds` or later. Compares as the replies' times are computed
// (index / fps), so that a time taken from a reply names that very frame.
int64_t FirstFrameAt(double seconds, double fps, int64_t total) {
  const double guess = std::clamp(std::ceil(seconds * fps), 0.0, static_cast<double>(total));
  auto index = static_cast<int64_t>(guess);
  while (index > 0 && static_cast<double>(index - 1) / fps >= seconds) --index;
  while (index < total && static_cast<double>(index) / fps < seconds) ++index;
  return index;
}

absl::StatusOr<FrameRange> RangeOf(int64_t total, std::optional<double> source_fps, const SamplingOptions& options) {
  FrameRange range{.first = 0, .end = total};
  if (!options.start_seconds && !options.end_seconds) return range;
  if (!source_fps) {
    return absl::InvalidArgumentError("start_seconds and end_seconds need a clip whose frames per second are known");
  }
  const double start = options.start_seconds.value_or(0);
  if (!std::isfinite(start) || start < 0 || std::isnan(options.end_seconds.value_or(0))) {
    return absl::InvalidArgumentError(absl::StrCat("start_seconds must be a time and not negative, got start_seconds ",
                                                   start, " and end_seconds ", options.end_seconds.value_or(0)));
  }
  range.first = FirstFrameAt(start, *source_fps, total);
  if (options.end_seconds) range.end = FirstFrameAt(*options.end_seconds, *source_fps, total);
  if (range.first >= range.end) {
    const double shown = static_cast<double>(total) / *source_fps;
    return absl::InvalidArgumentError(absl::StrCat("no frame is shown from start_seconds ", start,
                                                   " on and before end_seconds ", options.end_seconds.value_or(shown),
                                                   ": the clip has ", total, " frames in ", shown, " s"));
  }
  return range;
}

int64_t SampleCount(int64_t total, double source_fps, const SamplingOptions& options) {
  if (options.num_frames) return *options.num_frames;
  const double by_rate = static_cast<double>(total) / source_fps * options.fps;
  const auto count = static_cast<int64_t>(std::min(by_rate, static_cast<double>(total)));
  return std::min({std::max(count, options.min_frames), options.max_frames, total});
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> SampleFrames(int64_t total, std::optional<double> source_fps,
                                                  const SamplingOptions& options) {
  if (absl::Status status = CheckOptions(total, source_fps, options); !status.ok()) return status;
  const absl::StatusOr<FrameRange> range = RangeOf(total, source_fps, options);
  if (!range.ok()) return range.status();
  const int64_t frames = range->end - range->first;
  const int64_t count = SampleCount(frames, source_fps.value_or(kDefaultSourceFps), options);
  if (count > kMaxSampledFrames) {
    return absl::InvalidArgumentError(
        absl::StrCat("the sampling takes ", count, " frames, the limit is ", kMaxSampledFrames));
  }
  // numpy's linspace: multiples of the step, the last point exactly.
  const double step = count > 1 ? static_cast<double>(frames - 1) / static_cast<double>(count - 1) : 0;
  std::vector<int64_t> indices(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    indices[static_cast<size_t>(i)] =
        range->first + static_cast<int64_t>(std::nearbyint(static_cast<double>(i) * step));
  }
  if (count > 1) indices.back() = range->end - 1;
  return indices;
}

std::vector<double> SliceTimestamps(absl::Span<const int64_t> indices, double source_fps, int64_t temporal_patch_size) {
  const auto slice = static_cast<size_t>(temporal_patch_size);
  const auto time = [&](size_t i) {
    return static_cast<double>(indices[std::min(i, indices.size() - 1)]) / source_fps;
  };
  std::vector<double> timestamps;
  for (size_t first = 0; first < indices.size(); first += slice) {
    timestamps.push_back((time(first) + time(first + slice - 1)) / 2);
  }
  return timestamps;
}

}  // namespace vitower
