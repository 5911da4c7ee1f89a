// Clips whose frames come one by one (encoded images) or decoded (raw pixels).
#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/clip_writer.h"
#include "preprocess/video.h"

namespace vitower {
namespace {

using Clock = std::chrono::steady_clock;

absl::StatusOr<std::vector<int64_t>> ChooseFrames(int64_t total, std::optional<double> fps,
                                                  const std::optional<SamplingOptions>& sampling) {
  if (sampling) return SampleFrames(total, fps, *sampling);
  if (total < 1) return absl::InvalidArgumentError("the clip has no frames");
  if (fps && (!std::isfinite(*fps) || *fps <= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("the clip's frames per second must be positive, got ", *fps));
  }
  std::vector<int64_t> all(static_cast<size_t>(total));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

absl::Status OfImage(size_t index, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("image ", index, " of the clip: ", std::string(status.message())));
}

// The headers of all images, so that the clip is refused before any is decoded.
absl::StatusOr<std::vector<ImageHeader>> ProbeAll(absl::Span<const absl::Span<const uint8_t>> images,
                                                  const VideoLimits& limits, bool apply_exif) {
  if (static_cast<int64_t>(images.size()) > limits.max_frames) {
    return absl::InvalidArgumentError(
        absl::StrCat("the clip has ", images.size(), " frames, the limit is ", limits.max_frames));
  }
  std::vector<ImageHeader> headers;
  for (size_t i = 0; i < images.size(); ++i) {
    absl::StatusOr<ImageHeader> header = ProbeImage(images[i], limits.max_frame_pixels);
    if (!header.ok()) return OfImage(i, header.status());
    headers.push_back(*header);
    const ImageSize size = SizeAsShown(*header, apply_exif);
    const ImageSize first = SizeAsShown(headers.front(), apply_exif);
    if (size == first) continue;
    return OfImage(
        i, absl::InvalidArgumentError(absl::StrCat("it has ", size.width, " x ", size.height, " pixels, image 0 has ",
                                                   first.width, " x ", first.height, ": all must have one size")));
  }
  return headers;
}

absl::StatusOr<Clip> DecodeImages(absl::Span<const absl::Span<const uint8_t>> images, std::vector<int64_t> indices,
                                  std::optional<double> fps, const std::vector<ImageHeader>& headers,
                                  const ImageOptions& decode, const ClipOptions& options) {
  const ImageSize size = SizeAsShown(headers[0], decode.apply_exif);
  absl::StatusOr<ClipWriter> writer = ClipWriter::Create(static_cast<int64_t>(indices.size()), size, options);
  if (!writer.ok()) return writer.status();
  std::chrono::nanoseconds decode_time{0};
  for (size_t i = 0; i < indices.size(); ++i) {
    if (i > 0 && indices[i] == indices[i - 1]) {
      writer->Repeat();
      continue;
    }
    if (absl::Status wanted = CheckWanted(options.gone); !wanted.ok()) return wanted;
    const auto index = static_cast<size_t>(indices[i]);
    const Clock::time_point start = Clock::now();
    const absl::StatusOr<RgbImage> image = DecodeImage(images[index], headers[index], decode);
    decode_time += Clock::now() - start;
    if (!image.ok()) return OfImage(index, image.status());
    writer->Add(image->rgb);
  }
  const std::chrono::nanoseconds resize_time = writer->resize_time();
  Clip clip = MakeClip(std::move(*writer).Finish(), std::move(indices), fps, options);
  clip.decode_time = decode_time;
  clip.resize_time = resize_time;
  return clip;
}

}  // namespace

absl::StatusOr<Clip> DecodeFrameList(absl::Span<const absl::Span<const uint8_t>> images, std::optional<double> fps,
                                     const std::optional<SamplingOptions>& sampling, const VideoLimits& limits,
                                     const ImageOptions& decode, const ClipOptions& options) {
  try {
    const absl::StatusOr<std::vector<ImageHeader>> headers = ProbeAll(images, limits, decode.apply_exif);
    if (!headers.ok()) return headers.status();
    absl::StatusOr<std::vector<int64_t>> indices = ChooseFrames(static_cast<int64_t>(images.size()), fps, sampling);
    if (!indices.ok()) return indices.status();
    return DecodeImages(images, *std::move(indices), fps, *headers, decode, options);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("not enough memory for a clip of ", images.size(), " images"));
  }
}

absl::StatusOr<Clip> ResizeClip(OwnedBytes rgb, int64_t frame_count, ImageSize size, std::optional<double> fps,
                                const std::optional<SamplingOptions>& sampling, const ClipOptions& options) {
  try {
    absl::StatusOr<std::vector<int64_t>> indices = ChooseFrames(frame_count, fps, sampling);
    if (!indices.ok()) return indices.status();
    const auto sampled = static_cast<int64_t>(indices->size());
    const absl::StatusOr<GridThw> grid = ClipGrid(sampled, size, options);
    if (!grid.ok()) return grid.status();
    const ImageSize target = {.height = grid->h * options.patch_size, .width = grid->w * options.patch_size};
    // As many distinct frames as there are: all of them, in order.
    const bool all = sampled == frame_count && std::adjacent_find(indices->begin(), indices->end()) == indices->end();
    if (all && size == target) {
      Frames frames = {
          .frame_count = sampled, .height = size.height, .width = size.width, .rgb = std::move(rgb), .grid = *grid};
      return MakeClip(std::move(frames), *std::move(indices), fps, options);
    }
    absl::StatusOr<ClipWriter> writer = ClipWriter::Create(sampled, size, options);
    if (!writer.ok()) return writer.status();
    const auto frame_bytes = static_cast<size_t>(size.height * size.width * 3);
    for (const int64_t index : *indices) {
      writer->Add({rgb.data() + static_cast<size_t>(index) * frame_bytes, frame_bytes});
    }
    const std::chrono::nanoseconds resize_time = writer->resize_time();
    Clip clip = MakeClip(std::move(*writer).Finish(), *std::move(indices), fps, options);
    clip.resize_time = resize_time;
    return clip;
  } catch (const std::bad_alloc&) {
    return NoMemoryForClip(frame_count, size);
  }
}

}  // namespace vitower
