#include "cli/clip_flags.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "cli/format.h"
#include "cli/parse.h"

namespace vitower {

void AddClipFlags(Options& options, ClipFlags* flags) {
  options.Add({"video-fps", "N", "", "of a clip: frames taken a second (default: the model's, 2)"},
              Into(&flags->fps, ParseNumber));
  options.Add({"num-frames", "N", "", "of a clip: frames taken in all, evenly spread; excludes --video-fps"},
              Into(&flags->num_frames, ParseInt, /*min=*/1));
  options.Add({"min-frames", "N", "", "of a clip: frames taken at least (default: the model's, 4)"},
              Into(&flags->min_frames, ParseInt, /*min=*/1));
  options.Add({"max-frames", "N", "", "of a clip: frames taken at most (default: the model's, 768)"},
              Into(&flags->max_frames, ParseInt, /*min=*/1));
  options.Add({"start", "TIME", "", "of a clip: take only frames shown from then on, such as 12.5s"},
              Into(&flags->start, ParseDuration));
  options.Add({"end", "TIME", "", "of a clip: take only frames shown before"}, Into(&flags->end, ParseDuration));
  options.Add({"video-min-pixels", "N", "",
               "smallest volume of a resized clip, as frames * height * width (default: the model's)"},
              Into(&flags->min_pixels, ParseInt, /*min=*/1));
  options.Add({"video-max-pixels", "N", "", "largest volume of a resized clip (default: the model's)"},
              Into(&flags->max_pixels, ParseInt, /*min=*/1));
  options.AddSwitch("gif-clips", "take GIF files as clips (default: the first frame, as an image)", &flags->gif_clips);
}

absl::Status CheckClipFlags(const ClipFlags& flags) {
  if (flags.fps && *flags.fps <= 0) return absl::InvalidArgumentError("--video-fps is 0: it must be above");
  if (flags.fps && flags.num_frames) {
    return absl::InvalidArgumentError("--video-fps and --num-frames contradict each other: give one of them");
  }
  if (flags.min_frames && flags.max_frames && *flags.min_frames > *flags.max_frames) {
    return absl::InvalidArgumentError(
        absl::StrCat("--min-frames ", *flags.min_frames, " is above --max-frames ", *flags.max_frames));
  }
  if (flags.end && *flags.end <= flags.start.value_or(std::chrono::microseconds(0))) {
    return absl::InvalidArgumentError(absl::StrCat("--end ", FormatDuration(*flags.end), " is not after --start ",
                                                   FormatDuration(flags.start.value_or(std::chrono::microseconds(0)))));
  }
  return absl::OkStatus();
}

SamplingOptions ToSamplingOptions(const ClipFlags& flags, const VideoProcessorConfig& processor) {
  SamplingOptions sampling;
  sampling.fps = flags.fps.value_or(processor.fps);
  sampling.num_frames = flags.num_frames;
  sampling.min_frames = flags.min_frames.value_or(processor.min_frames);
  sampling.max_frames = flags.max_frames.value_or(processor.max_frames);
  if (flags.start) sampling.start_seconds = Seconds(*flags.start);
  if (flags.end) sampling.end_seconds = Seconds(*flags.end);
  return sampling;
}

absl::StatusOr<ClipOptions> ToClipOptions(const ClipFlags& flags, const TowerConfig& tower,
                                          const VideoProcessorConfig& processor) {
  ClipOptions options;
  options.min_pixels = flags.min_pixels.value_or(processor.min_pixels);
  options.max_pixels = flags.max_pixels.value_or(processor.max_pixels);
  if (options.min_pixels > options.max_pixels) {
    return absl::InvalidArgumentError(absl::StrCat("--video-min-pixels ", options.min_pixels,
                                                   " is above --video-max-pixels ", options.max_pixels,
                                                   " (what is unset is the model's own)"));
  }
  options.patch_size = tower.patch_size;
  options.temporal_patch_size = tower.temporal_patch_size;
  options.spatial_merge_size = tower.spatial_merge_size;
  options.max_patches = std::numeric_limits<int64_t>::max();
  return options;
}

double Seconds(std::chrono::microseconds time) { return std::chrono::duration<double>(time).count(); }

}  // namespace vitower
