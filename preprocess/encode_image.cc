#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include "absl/strings/str_cat.h"
#include "preprocess/encode.h"

namespace vitower {
namespace {

std::string Encode(const RgbImage& image, const std::string& extension, const std::vector<int>& parameters) {
  const cv::Mat rgb(static_cast<int>(image.size.height), static_cast<int>(image.size.width), CV_8UC3,
                    const_cast<uint8_t*>(image.rgb.data()));
  cv::Mat bgr(rgb.size(), CV_8UC3);
  cv::mixChannels(rgb, bgr, {0, 2, 1, 1, 2, 0});
  std::vector<uint8_t> bytes;
  if (!cv::imencode(extension, bgr, bytes, parameters)) return "";
  return {bytes.begin(), bytes.end()};
}

}  // namespace

absl::StatusOr<std::string> EncodeImage(const RgbImage& image, ImageFormat format, int quality) {
  const ImageSize size = image.size;
  if (size.height < 1 || size.width < 1 || size.height > 65'500 || size.width > 65'500) {
    return absl::InvalidArgumentError(
        absl::StrCat("a picture of ", size.width, "x", size.height, " pixels: each side must be 1 to 65500"));
  }
  if (format != ImageFormat::kJpeg && format != ImageFormat::kPng) {
    return absl::UnimplementedError(absl::StrCat(std::string(Name(format)), " is not written"));
  }
  try {
    std::string bytes = format == ImageFormat::kJpeg ? Encode(image, ".jpg", {cv::IMWRITE_JPEG_QUALITY, quality})
                                                     : Encode(image, ".png", {});
    if (!bytes.empty()) return bytes;
  } catch (const cv::Exception& error) {
    return absl::InternalError(absl::StrCat("encoding a picture: ", error.err));
  }
  return absl::InternalError("encoding a picture failed");
}

}  // namespace vitower
