#include "cli/prepare.h"

#include <chrono>
#include <utility>

#include "cli/media_kind.h"

namespace vitower {
namespace {

// A file of the user's own: what is refused is what no clip is.
constexpr VideoLimits kVideoLimits = {
    .max_frame_pixels = kDefaultMaxImagePixels, .max_seconds = 7 * 86'400.0, .max_frames = 100'000'000};

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double ToSeconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

absl::StatusOr<Preparer> Preparer::Create(const ImageFlags& image, const ClipFlags& clip, const TowerConfig& tower,
                                          const ImageProcessorConfig& image_processor,
                                          const std::optional<VideoProcessorConfig>& video_processor) {
  Preparer preparer;
  preparer.gif_clips_ = clip.gif_clips;
  absl::StatusOr<ImageOptions> image_options = ToImageOptions(image, tower, image_processor);
  if (!image_options.ok()) return image_options.status();
  preparer.image_options_ = *std::move(image_options);
  if (absl::Status checked = CheckClipFlags(clip); !checked.ok()) return checked;
  if (!video_processor) return preparer;
  absl::StatusOr<ClipOptions> clip_options = ToClipOptions(clip, tower, *video_processor);
  if (!clip_options.ok()) return clip_options.status();
  clip_options->do_resize = !image.no_resize;
  preparer.clip_options_ = *std::move(clip_options);
  preparer.sampling_ = ToSamplingOptions(clip, *video_processor);
  return preparer;
}

absl::StatusOr<Prepared> Preparer::Prepare(const InputFile& file) const {
  const absl::StatusOr<std::string> data = ReadInput(file);
  if (!data.ok()) return data.status();
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(data->data()), data->size());
  return KindOf(file.path, *data, gif_clips_) == MediaKind::kClip ? PrepareClip(bytes) : PrepareImage(bytes);
}

absl::StatusOr<Prepared> Preparer::PrepareImage(absl::Span<const uint8_t> bytes) const {
  Prepared prepared;
  const auto decode_start = std::chrono::steady_clock::now();
  const absl::StatusOr<ImageHeader> header = ProbeImage(bytes);
  if (!header.ok()) return header.status();
  const absl::StatusOr<ImageSize> target = TargetSize(*header, image_options_);
  if (!target.ok()) return target.status();
  absl::StatusOr<RgbImage> image = DecodeImage(bytes, *header, image_options_);
  if (!image.ok()) return image.status();
  prepared.decode_seconds = SecondsSince(decode_start);

  const auto resize_start = std::chrono::steady_clock::now();
  absl::StatusOr<Frames> frames = ResizeToFrames(*std::move(image), *target, image_options_);
  if (!frames.ok()) return frames.status();
  prepared.frames = *std::move(frames);
  prepared.resize_seconds = SecondsSince(resize_start);
  return prepared;
}

absl::StatusOr<Prepared> Preparer::PrepareClip(absl::Span<const uint8_t> bytes) const {
  if (!clip_options_) {
    return absl::FailedPreconditionError("the model takes no clips: its checkpoint has no video processor");
  }
  absl::StatusOr<Clip> clip = DecodeVideo(bytes, kVideoLimits, sampling_, *clip_options_);
  if (!clip.ok()) return clip.status();
  Prepared prepared;
  prepared.frames = std::move(clip->frames);
  prepared.clip =
      ClipSummary{std::move(clip->frame_indices), clip->source_fps, std::move(clip->slice_timestamps), clip->padded};
  prepared.decode_seconds = ToSeconds(clip->decode_time);
  prepared.resize_seconds = ToSeconds(clip->resize_time);
  return prepared;
}

}  // namespace vitower
