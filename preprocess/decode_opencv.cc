#include <limits>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>

#include "preprocess/decoders.h"
#include "preprocess/headers.h"

namespace vitower {
namespace {

// What OpenCV has to say about bad data goes into our status, not to stderr.
void SilenceOpenCv() {
  static const bool done = [] {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    return true;
  }();
  static_cast<void>(done);
}

// 8 bits of a sample of 8 or 16.
uint8_t Sample(uint8_t value) { return value; }
uint8_t Sample(uint16_t value) { return static_cast<uint8_t>(value >> 8); }

// How the pixels behind transparent ones are to be shown.
struct Backdrop {
  Background color;                          // unset: alpha is dropped
  std::optional<uint16_t> transparent_gray;  // of a picture without an alpha channel
};

template <typename T>
uint8_t Alpha(const T* pixel, int channels, const Backdrop& backdrop) {
  if (channels == 4) return Sample(pixel[3]);
  return channels == 1 && backdrop.transparent_gray == pixel[0] ? 0 : 255;
}

// A row of gray, BGR or BGRA samples to RGB.
template <typename T>
void ConvertRow(const T* row, int channels, int64_t width, const Backdrop& backdrop, uint8_t* rgb) {
  for (int64_t x = 0; x < width; ++x, row += channels, rgb += 3) {
    for (int c = 0; c < 3; ++c) rgb[c] = Sample(row[channels == 1 ? 0 : 2 - c]);
    if (!backdrop.color) continue;
    const uint8_t alpha = Alpha(row, channels, backdrop);
    for (size_t c = 0; c < 3; ++c) rgb[c] = Blend(rgb[c], (*backdrop.color)[c], alpha);
  }
}

bool IsWhole(ImageFormat format, ByteView file) {
  return format == ImageFormat::kPng ? PngIsWhole(file) : BmpIsWhole(file);
}

absl::StatusOr<RgbImage> ToRgb(const cv::Mat& decoded, const ImageHeader& header, const Backdrop& backdrop) {
  const ImageSize size = {.height = decoded.rows, .width = decoded.cols};
  if (size != header.size) return WrongSize(header, size);
  const int channels = decoded.channels();
  if ((channels != 1 && channels != 3 && channels != 4) || (decoded.depth() != CV_8U && decoded.depth() != CV_16U)) {
    return CannotDecode(header, "the pixel layout is not supported");
  }
  RgbImage image = BlankImage(size);
  for (int y = 0; y < decoded.rows; ++y) {
    uint8_t* rgb = &image.rgb[3 * static_cast<size_t>(y * size.width)];
    if (decoded.depth() == CV_8U) {
      ConvertRow(decoded.ptr<uint8_t>(y), channels, size.width, backdrop, rgb);
    } else {
      ConvertRow(decoded.ptr<uint16_t>(y), channels, size.width, backdrop, rgb);
    }
  }
  return image;
}

}  // namespace

absl::StatusOr<RgbImage> DecodeWithOpenCv(absl::Span<const uint8_t> bytes, const ImageHeader& header,
                                          Background background) {
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return CannotDecode(header, "the file is larger than 2 GiB");
  }
  const ByteView file(bytes);
  if (!IsWhole(header.format, file)) return CannotDecode(header, "the file is truncated");
  SilenceOpenCv();
  if (header.format == ImageFormat::kBmp && !BmpHasAlpha(file)) background.reset();
  Backdrop backdrop{.color = background, .transparent_gray = std::nullopt};
  if (background && header.format == ImageFormat::kPng) backdrop.transparent_gray = PngTransparentGray(file);
  const int flags = background ? cv::IMREAD_UNCHANGED : cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION;
  try {
    const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8U, const_cast<uint8_t*>(bytes.data()));
    const cv::Mat decoded = cv::imdecode(encoded, flags);
    if (decoded.empty()) return CannotDecode(header, "the data is damaged");
    return ToRgb(decoded, header, backdrop);
  } catch (const cv::Exception& error) {
    if (error.code == cv::Error::StsNoMem) throw std::bad_alloc();
    return CannotDecode(header, error.err);
  }
}

}  // namespace vitower
