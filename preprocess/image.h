#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/frames.h"

namespace vitower {

// From encoded image bytes to frames sized for the tower, in four steps, so that a server can refuse an image from its
// header before any work is done and can time each step: ProbeImage -> TargetSize -> DecodeImage -> ResizeToFrames.
// All functions are thread-safe, keep no reference to their arguments and block only for their own computing. Whatever
// the bytes are, they return INVALID_ARGUMENT with a message that names what is wrong and the limit (RESOURCE_EXHAUSTED
// where memory runs out): they never throw.

enum class ImageFormat : uint8_t { kJpeg, kPng, kWebp, kBmp, kGif };

std::string_view Name(ImageFormat format);  // "JPEG", ...

struct ImageSize {
  int64_t height = 0;  // pixels
  int64_t width = 0;
  bool operator==(const ImageSize&) const = default;
};

// What the header of an encoded image claims.
struct ImageHeader {
  ImageFormat format = ImageFormat::kJpeg;
  ImageSize size;                 // as stored, before EXIF is applied
  int exif_orientation = 1;       // 1 to 8; 1 where the file has none
  int64_t coefficient_bytes = 0;  // that a JPEG of several scans takes while it is decoded
};

// pixels; the value at which Pillow refuses an image as a decompression bomb
inline constexpr int64_t kDefaultMaxImagePixels = 178'956'970;

// Reads the format from the magic bytes and the size from the header; decodes nothing.
// Refuses unknown formats and images of more than `max_image_pixels`.
absl::StatusOr<ImageHeader> ProbeImage(absl::Span<const uint8_t> bytes,
                                       int64_t max_image_pixels = kDefaultMaxImagePixels);

// Upright where EXIF is applied, else as stored.
ImageSize SizeAsShown(const ImageHeader& header, bool apply_exif);

struct ImageOptions {
  bool apply_exif = true;
  std::optional<std::array<uint8_t, 3>> background;  // RGB under transparent pixels; unset: alpha is dropped
  bool do_resize = true;   // false: both sides must already be multiples of patch_size * spatial_merge_size
  int64_t min_pixels = 0;  // areas of the resized image
  int64_t max_pixels = 0;
  int64_t patch_size = 16;
  int64_t spatial_merge_size = 2;
};

// The size rule of the Qwen processors: sides rounded half to even to multiples of `factor`, the area kept within
// [min_pixels, max_pixels]. Refuses an aspect ratio above 200. Source: transformers, qwen2_vl smart_resize.
absl::StatusOr<ImageSize> SmartResize(ImageSize size, int64_t factor, int64_t min_pixels, int64_t max_pixels);

// The size in pixels an image of this header will have for the tower (upright, when apply_exif).
absl::StatusOr<ImageSize> TargetSize(const ImageHeader& header, const ImageOptions& options);

// What DecodeImage takes at most at any time, its result included.
int64_t DecodeBytes(const ImageHeader& header, const ImageOptions& options);

// Decoded pixels: [height, width, 3] uint8 RGB, upright when apply_exif.
struct RgbImage {
  ImageSize size;
  std::vector<uint8_t> rgb;
};

// `header` must be what ProbeImage made of the same bytes.
absl::StatusOr<RgbImage> DecodeImage(absl::Span<const uint8_t> bytes, const ImageHeader& header,
                                     const ImageOptions& options);

// Resizes to `target` with the antialiased bicubic of resample.h and wraps the result. An image that has that size
// already is moved, not copied.
absl::StatusOr<Frames> ResizeToFrames(RgbImage image, ImageSize target, const ImageOptions& options);

}  // namespace vitower
