// WebP by its own library. cv::imdecode gives what libwebp does not take to any other reader that knows some bytes of it,
// down to those for DICOM and for maps, which go by letters in the middle of a file and allocate what the file asks for.
#include <webp/decode.h>

#include <new>

#include "preprocess/decoders.h"
#include "preprocess/headers.h"

namespace vitower {
namespace {

// Decodes into `pixels`, rows of `channels` bytes a pixel: 3 (alpha is dropped) or 4.
VP8StatusCode DecodeInto(absl::Span<const uint8_t> bytes, ImageSize size, int channels, std::vector<uint8_t>& pixels) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) return VP8_STATUS_INVALID_PARAM;  // another libwebp than that built with
  config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = pixels.data();
  config.output.u.RGBA.stride = static_cast<int>(size.width) * channels;
  config.output.u.RGBA.size = pixels.size();
  return WebPDecode(bytes.data(), bytes.size(), &config);
}

}  // namespace

absl::StatusOr<RgbImage> DecodeWebp(absl::Span<const uint8_t> bytes, const ImageHeader& header, Background background) {
  if (!WebpIsWhole(ByteView(bytes))) return CannotDecode(header, "the file is truncated");
  WebPBitstreamFeatures features;
  VP8StatusCode code = WebPGetFeatures(bytes.data(), bytes.size(), &features);
  if (code == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code != VP8_STATUS_OK) return CannotDecode(header, "the data is damaged");
  const ImageSize size = {.height = features.height, .width = features.width};
  if (size != header.size) return WrongSize(header, size);
  const bool blend = background && features.has_alpha != 0;
  RgbImage image = BlankImage(size);
  std::vector<uint8_t> rgba(blend ? static_cast<size_t>(size.height * size.width * 4) : 0);
  code = blend ? DecodeInto(bytes, size, 4, rgba) : DecodeInto(bytes, size, 3, image.rgb);
  if (code == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code != VP8_STATUS_OK) return CannotDecode(header, "the data is damaged");
  for (size_t pixel = 0; pixel < rgba.size() / 4; ++pixel) {
    for (size_t c = 0; c < 3; ++c) {
      image.rgb[pixel * 3 + c] = Blend(rgba[pixel * 4 + c], (*background)[c], rgba[pixel * 4 + 3]);
    }
  }
  return image;
}

}  // namespace vitower
