#include "preprocess/clip_writer.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/resample.h"

namespace vitower {

absl::Status CheckWanted(const std::function<bool()>& gone) {
  if (!gone || !gone()) return absl::OkStatus();
  return absl::CancelledError("nobody waits for the clip any more");
}

absl::Status NoMemoryForClip(int64_t frames, ImageSize size) {
  return absl::ResourceExhaustedError(absl::StrCat("not enough memory for a clip of ", frames, " frames of ",
                                                   size.width, " x ", size.height, " pixels"));
}

ClipWriter::ClipWriter(int64_t frames, ImageSize source, ImageSize target, GridThw grid)
    : frames_(frames),
      source_(source),
      target_(target),
      grid_(grid),
      rgb_(static_cast<size_t>(frames * target.height * target.width * 3)) {}

absl::StatusOr<ClipWriter> ClipWriter::Create(int64_t frames, ImageSize source, const ClipOptions& options) {
  const absl::StatusOr<GridThw> grid = ClipGrid(frames, source, options);
  if (!grid.ok()) return grid.status();
  const ImageSize target = {.height = grid->h * options.patch_size, .width = grid->w * options.patch_size};
  try {
    return ClipWriter(frames, source, target, *grid);
  } catch (const std::exception&) {  // bad_alloc, length_error
    return NoMemoryForClip(frames, target);
  }
}

absl::Span<uint8_t> ClipWriter::Slot(int64_t frame) {
  const auto bytes = static_cast<size_t>(target_.height * target_.width * 3);
  return absl::MakeSpan(rgb_).subspan(static_cast<size_t>(frame) * bytes, bytes);
}

void ClipWriter::Add(absl::Span<const uint8_t> rgb) {
  const auto start = std::chrono::steady_clock::now();
  ResampleBicubic(rgb, source_, Slot(next_++), target_);
  resize_time_ += std::chrono::steady_clock::now() - start;
}

void ClipWriter::Repeat() {
  const absl::Span<const uint8_t> last = Slot(next_ - 1);
  std::copy(last.begin(), last.end(), Slot(next_++).begin());
}

Frames ClipWriter::Finish() && {
  return {
      .frame_count = frames_, .height = target_.height, .width = target_.width, .rgb = std::move(rgb_), .grid = grid_};
}

Clip MakeClip(Frames frames, std::vector<int64_t> indices, std::optional<double> fps, const ClipOptions& options) {
  Clip clip;
  clip.padded = frames.frame_count % options.temporal_patch_size != 0;
  if (fps) clip.slice_timestamps = SliceTimestamps(indices, *fps, options.temporal_patch_size);
  clip.source_fps = fps;
  clip.frame_indices = std::move(indices);
  clip.frames = std::move(frames);
  return clip;
}

}  // namespace vitower
