#include "server/sampling_check.h"

#include <cstdio>
#include <string>
#include <utility>

#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Rates and times outside these are no clip's, and fit the arithmetic of sampling.
constexpr double kLeastRate = 1e-6;
constexpr double kMostRate = 1e6;
constexpr double kMostSeconds = 1e9;

std::string Text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.15g", value);
  return text;
}

// The setters of Sampling's fields. Each message names the field as the client wrote it.
class Sampler final {
 public:
  Sampler(std::string_view source, const v1::Sampling& wanted, int64_t max_video_frames)
      : prefix_(Cat(source, ".sampling.")), wanted_(wanted), max_video_frames_(max_video_frames) {}

  absl::Status Set(SamplingOptions& options) const {
    if (absl::Status set = SetRate(options); !set.ok()) return set;
    if (absl::Status set = SetCounts(options); !set.ok()) return set;
    return SetTimes(options);
  }

 private:
  absl::Status SetRate(SamplingOptions& options) const {
    if (!wanted_.has_fps()) return absl::OkStatus();
    options.fps = wanted_.fps();
    return CheckRate(Cat(prefix_, "fps"), options.fps);
  }

  absl::Status CheckCount(std::string_view field, uint32_t count) const {
    if (count >= 1 && count <= max_video_frames_) return absl::OkStatus();
    return BadInput(prefix_, field, " is ", count, "; it must be 1 to ", max_video_frames_, " (--max-video-frames)");
  }

  absl::Status SetCounts(SamplingOptions& options) const {
    if (wanted_.has_num_frames()) return SetNumFrames(options);
    if (wanted_.has_min_frames()) {
      if (absl::Status count = CheckCount("min_frames", wanted_.min_frames()); !count.ok()) return count;
      options.min_frames = wanted_.min_frames();
    }
    if (wanted_.has_max_frames()) {
      if (absl::Status count = CheckCount("max_frames", wanted_.max_frames()); !count.ok()) return count;
      options.max_frames = wanted_.max_frames();
    }
    if (options.min_frames <= options.max_frames) return absl::OkStatus();
    return BadInput(prefix_, "min_frames is ", options.min_frames, wanted_.has_min_frames() ? "" : " (the model's own)",
                    ", above max_frames, which is ", options.max_frames,
                    wanted_.has_max_frames() ? "" : " (the model's own)");
  }

  absl::Status SetNumFrames(SamplingOptions& options) const {
    const std::pair<const char*, bool> excluded[] = {
        {"fps", wanted_.has_fps()}, {"min_frames", wanted_.has_min_frames()}, {"max_frames", wanted_.has_max_frames()}};
    for (const auto& [field, set] : excluded) {
      if (set) return BadInput(prefix_, "num_frames and ", prefix_, field, " are both set; num_frames says it all");
    }
    options.num_frames = wanted_.num_frames();
    return CheckCount("num_frames", wanted_.num_frames());
  }

  absl::Status CheckSeconds(std::string_view field, double seconds) const {
    if (seconds >= 0 && seconds <= kMostSeconds) return absl::OkStatus();  // false for a NaN
    return BadInput(prefix_, field, " is ", Text(seconds), "; it must be 0 to ", Text(kMostSeconds));
  }

  absl::Status SetTimes(SamplingOptions& options) const {
    if (wanted_.has_start_seconds()) {
      options.start_seconds = wanted_.start_seconds();
      if (absl::Status seconds = CheckSeconds("start_seconds", *options.start_seconds); !seconds.ok()) return seconds;
    }
    if (wanted_.has_end_seconds()) {
      options.end_seconds = wanted_.end_seconds();
      if (absl::Status seconds = CheckSeconds("end_seconds", *options.end_seconds); !seconds.ok()) return seconds;
    }
    const double start = options.start_seconds.value_or(0);
    if (!options.end_seconds || start < *options.end_seconds) return absl::OkStatus();
    return BadInput(prefix_, "start_seconds is ", Text(start), ", not before end_seconds, which is ",
                    Text(*options.end_seconds));
  }

  const std::string prefix_;
  const v1::Sampling& wanted_;
  const int64_t max_video_frames_;
};

}  // namespace

absl::Status CheckRate(std::string_view field, double fps) {
  if (fps >= kLeastRate && fps <= kMostRate) return absl::OkStatus();  // false for a NaN
  return BadInput(field, " is ", Text(fps), "; it must be ", Text(kLeastRate), " to ", Text(kMostRate));
}

absl::StatusOr<SamplingOptions> SamplingOf(std::string_view source, const v1::Sampling& wanted, const EncoderInfo& info,
                                           const ItemLimits& limits) {
  SamplingOptions options;
  options.fps = info.video_processor->fps;
  options.min_frames = info.video_processor->min_frames;
  options.max_frames = info.video_processor->max_frames;
  if (absl::Status set = Sampler(source, wanted, limits.max_video_frames).Set(options); !set.ok()) return set;
  return options;
}

}  // namespace vitower
