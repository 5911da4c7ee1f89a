#include "preprocess/frame_converter.h"

extern "C" {
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
}

#include <array>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/orient.h"

namespace vitower {
namespace {

// Decides only how chroma is interpolated where it is: in frames of odd height and of more than 8 bits. There the
// bilinear of swscale before version 9 loses a tap and shifts chroma; its bicubic is the nearer one to the later
// bilinear.
constexpr int kScaling = LIBSWSCALE_VERSION_MAJOR < 9 ? SWS_BICUBIC : SWS_BILINEAR;

// swscale's kernels write whole groups of pixels.
int RowBytes(ImageSize size) {
  constexpr int64_t kGroup = 32;
  return static_cast<int>((size.width + kGroup - 1) / kGroup * kGroup * 3);
}

// Of the chroma samples between the luma samples of a 2 x 2 block, in 1/256; what is not known is left to swscale.
struct ChromaPosition {
  int horizontal = -513;
  int vertical = -513;
};

ChromaPosition PositionOf(const FrameConverter::Source& source) {
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(source.format);
  if (format == nullptr || format->log2_chroma_w == 0 || format->log2_chroma_h == 0) return {};
  switch (source.chroma) {
    case AVCHROMA_LOC_LEFT:
      return {0, 128};
    case AVCHROMA_LOC_CENTER:
      return {128, 128};
    case AVCHROMA_LOC_TOPLEFT:
      return {0, 0};
    case AVCHROMA_LOC_TOP:
      return {128, 0};
    case AVCHROMA_LOC_BOTTOMLEFT:
      return {0, 256};
    case AVCHROMA_LOC_BOTTOM:
      return {128, 256};
    default:
      return {};
  }
}

// What stands in one of libav's enums. It takes some from the file unchecked, and to read a number that the enum does not
// have as the enum is undefined.
template <typename Enum>
int NumberIn(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int number = 0;
  std::memcpy(&number, &value, sizeof(number));
  return number;
}

// The format, with full range where only the format's name says so.
FrameConverter::Source SourceOf(const AVFrame& frame) {
  const bool full = NumberIn(frame.color_range) == AVCOL_RANGE_JPEG;
  const int colorspace = NumberIn(frame.colorspace);
  const int chroma = NumberIn(frame.chroma_location);
  switch (frame.format) {
    case AV_PIX_FMT_YUVJ420P:
      return {AV_PIX_FMT_YUV420P, colorspace, chroma, true};
    case AV_PIX_FMT_YUVJ422P:
      return {AV_PIX_FMT_YUV422P, colorspace, chroma, true};
    case AV_PIX_FMT_YUVJ444P:
      return {AV_PIX_FMT_YUV444P, colorspace, chroma, true};
    case AV_PIX_FMT_YUVJ440P:
      return {AV_PIX_FMT_YUV440P, colorspace, chroma, true};
    default:
      return {static_cast<AVPixelFormat>(frame.format), colorspace, chroma, full};
  }
}

}  // namespace

ImageSize FrameConverter::upright() const { return Upright(stored_, orientation_); }

absl::Status FrameConverter::PrepareScaler(const Source& source) {
  if (scaler_ != nullptr && source == source_) return absl::OkStatus();
  if (sws_isSupportedInput(source.format) == 0) {
    const char* name = av_get_pix_fmt_name(source.format);
    return absl::InvalidArgumentError(
        absl::StrCat("video pixel format ", name != nullptr ? name : "unknown", " is not supported"));
  }
  const auto width = static_cast<int>(stored_.width);
  const auto height = static_cast<int>(stored_.height);
  scaler_.reset(sws_alloc_context());
  if (scaler_ == nullptr) throw std::bad_alloc();
  const ChromaPosition chroma = PositionOf(source);
  const std::pair<const char*, int> settings[] = {{"srcw", width},
                                                  {"srch", height},
                                                  {"dstw", width},
                                                  {"dsth", height},
                                                  {"src_format", source.format},
                                                  {"dst_format", AV_PIX_FMT_RGB24},
                                                  {"sws_flags", kScaling},
                                                  {"src_h_chr_pos", chroma.horizontal},
                                                  {"src_v_chr_pos", chroma.vertical}};
  for (const auto& [name, value] : settings) av_opt_set_int(scaler_.get(), name, value, 0);
  if (const int code = sws_init_context(scaler_.get(), nullptr, nullptr); code < 0) {
    scaler_.reset();
    return LibavError("cannot convert the video's pixel format to RGB", code);
  }
  source_ = source;
  const int* coefficients = sws_getCoefficients(source.colorspace);
  constexpr int kOne = 1 << 16;
  // Fails for RGB, which has no colour space to convert from.
  sws_setColorspaceDetails(scaler_.get(), coefficients, source.full_range ? 1 : 0, coefficients, /*dstRange=*/1,
                           /*brightness=*/0, /*contrast=*/kOne, /*saturation=*/kOne);
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const uint8_t>> FrameConverter::Convert(const AVFrame& frame) {
  if (frame.width != stored_.width || frame.height != stored_.height) {
    return absl::InvalidArgumentError(absl::StrCat("the header says ", stored_.width, " x ", stored_.height,
                                                   " pixels, the data ", frame.width, " x ", frame.height));
  }
  if (absl::Status status = PrepareScaler(SourceOf(frame)); !status.ok()) return status;
  const int stride = RowBytes(stored_);
  constexpr size_t kSlack = 64;
  rgb_.resize(static_cast<size_t>(stride) * static_cast<size_t>(frame.height) + kSlack);
  const std::array<uint8_t*, 4> planes = {rgb_.data(), nullptr, nullptr, nullptr};
  const std::array<int, 4> strides = {stride, 0, 0, 0};
  const int rows = sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, planes.data(), strides.data());
  if (rows != frame.height) return LibavError("cannot convert a frame to RGB", rows < 0 ? rows : AVERROR_BUG);
  const size_t row = static_cast<size_t>(frame.width) * 3;
  for (size_t y = 1; row != static_cast<size_t>(stride) && y < static_cast<size_t>(frame.height); ++y) {
    std::memmove(&rgb_[y * row], &rgb_[y * static_cast<size_t>(stride)], row);
  }
  const absl::Span<const uint8_t> packed(rgb_.data(), row * static_cast<size_t>(frame.height));
  if (orientation_ == 1) return packed;
  upright_.resize(packed.size());
  OrientInto(packed, stored_, orientation_, upright_.data());
  return absl::MakeConstSpan(upright_);
}

}  // namespace vitower
