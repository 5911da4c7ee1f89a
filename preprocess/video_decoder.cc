#include "preprocess/video_decoder.h"

#include <algorithm>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

// Codecs whose pictures say reliably that no other refers to them.
bool MarksDisposable(AVCodecID codec) {
  return codec == AV_CODEC_ID_H264 || codec == AV_CODEC_ID_MPEG4 || codec == AV_CODEC_ID_VP8;
}

// What libav compares with its limit: the picture in whole blocks, its rows in whole vectors. (The limit for what is
// shown was checked with the header, and no frame of another size than the header's is taken.)
int64_t PaddedPixels(const AVCodecParameters& codec) {
  constexpr int64_t kPadding = 128;
  return (codec.width + kPadding) * (codec.height + kPadding);
}

}  // namespace

absl::StatusOr<VideoDecoder> VideoDecoder::Create(const AVStream& stream, int reorder_depth,
                                                  const VideoLimits& limits) {
  const AVCodecID id = stream.codecpar->codec_id;
  const AVCodec* codec = avcodec_find_decoder(id);
  if (codec == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("video codec ", avcodec_get_name(id), ": the installed libavcodec has no decoder for it"));
  }
  VideoDecoder decoder;
  decoder.context_.reset(avcodec_alloc_context3(codec));
  if (decoder.context_ == nullptr) throw std::bad_alloc();
  AVCodecContext& context = *decoder.context_;
  int code = avcodec_parameters_to_context(&context, stream.codecpar);
  context.pkt_timebase = stream.time_base;
  context.thread_count = 1;
  context.max_pixels = std::max(limits.max_frame_pixels, PaddedPixels(*stream.codecpar));
  context.err_recognition = AV_EF_EXPLODE;
  context.has_b_frames = std::max(context.has_b_frames, reorder_depth);
  if (code >= 0) code = avcodec_open2(&context, codec, nullptr);
  if (code < 0) return LibavError(absl::StrCat("cannot decode ", avcodec_get_name(id), " video"), code);
  decoder.frame_ = NewFrame();
  decoder.can_leave_out_ = MarksDisposable(id);
  return decoder;
}

absl::Status VideoDecoder::Send(const AVPacket* packet, bool needed) {
  context_->skip_frame = can_leave_out_ && !needed ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
  packets_ += packet != nullptr ? 1 : 0;
  const int code = avcodec_send_packet(context_.get(), packet);
  return code < 0 ? LibavError("the data is damaged", code) : absl::OkStatus();
}

absl::StatusOr<const AVFrame*> VideoDecoder::Receive() {
  const int code = avcodec_receive_frame(context_.get(), frame_.get());
  if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return nullptr;
  if (code < 0) return LibavError("the data is damaged", code);
  return frame_.get();
}

bool IsSound(const AVFrame& frame) {
  return frame.decode_error_flags == 0 && (frame.flags & AV_FRAME_FLAG_CORRUPT) == 0;
}

}  // namespace vitower
