extern "C" {
#include <libavutil/mem.h>
}

#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/encode.h"
#include "preprocess/libav.h"

namespace vitower {
namespace {

// An output context is freed otherwise than an input's, which is what Libav does.
struct FreeOutput {
  void operator()(AVFormatContext* context) const {
    uint8_t* bytes = nullptr;
    if (context->pb != nullptr && avio_close_dyn_buf(context->pb, &bytes) >= 0) av_free(bytes);
    avformat_free_context(context);
  }
};

absl::Status EncodeError(const char* what, int code) {
  return absl::InternalError(std::string(LibavError(absl::StrCat("encoding a clip: ", what), code).message()));
}

class ClipEncoder final {
 public:
  absl::Status Open(ImageSize size, int fps) {
    const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_MPEG4);
    if (codec == nullptr) return absl::InternalError("encoding a clip: libavcodec has no MPEG-4 encoder");
    AVFormatContext* container = nullptr;
    if (const int code = avformat_alloc_output_context2(&container, nullptr, "matroska", nullptr); code < 0) {
      return EncodeError("matroska", code);
    }
    container_.reset(container);
    stream_ = avformat_new_stream(container, nullptr);
    codec_.reset(avcodec_alloc_context3(codec));
    if (stream_ == nullptr || codec_ == nullptr) return EncodeError("a stream", AVERROR(ENOMEM));
    SetUp(size, fps);
    if (const int code = avcodec_open2(codec_.get(), codec, nullptr); code < 0) return EncodeError("the codec", code);
    return WriteHeader();
  }

  absl::Status Add(const RgbImage& image) {
    const Libav<AVFrame> frame = NewFrame();
    frame->format = AV_PIX_FMT_YUV420P;
    frame->width = codec_->width;
    frame->height = codec_->height;
    frame->pts = next_++;
    if (const int code = av_frame_get_buffer(frame.get(), 0); code < 0) return EncodeError("a frame", code);
    const uint8_t* planes[] = {image.rgb.data()};
    const int strides[] = {3 * codec_->width};
    sws_scale(to_yuv_.get(), planes, strides, 0, codec_->height, frame->data, frame->linesize);
    return Send(frame.get());
  }

  absl::StatusOr<std::string> Finish() {
    if (absl::Status status = Send(nullptr); !status.ok()) return status;
    if (const int code = av_write_trailer(container_.get()); code < 0) return EncodeError("its end", code);
    uint8_t* bytes = nullptr;
    const int size = avio_close_dyn_buf(std::exchange(container_->pb, nullptr), &bytes);
    std::string clip(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
    av_free(bytes);
    return clip;
  }

 private:
  void SetUp(ImageSize size, int fps) {
    codec_->width = static_cast<int>(size.width);
    codec_->height = static_cast<int>(size.height);
    codec_->time_base = {1, fps};
    codec_->framerate = {fps, 1};
    codec_->pix_fmt = AV_PIX_FMT_YUV420P;
    codec_->gop_size = 12;
    codec_->thread_count = 1;
    codec_->bit_rate = size.width * size.height * fps / 4;
    codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    to_yuv_.reset(sws_getContext(codec_->width, codec_->height, AV_PIX_FMT_RGB24, codec_->width, codec_->height,
                                 AV_PIX_FMT_YUV420P, SWS_BILINEAR, nullptr, nullptr, nullptr));
  }

  absl::Status WriteHeader() {
    avcodec_parameters_from_context(stream_->codecpar, codec_.get());
    stream_->time_base = codec_->time_base;
    stream_->avg_frame_rate = codec_->framerate;
    if (const int code = avio_open_dyn_buf(&container_->pb); code < 0) return EncodeError("its buffer", code);
    if (const int code = avformat_write_header(container_.get(), nullptr); code < 0)
      return EncodeError("its header", code);
    return absl::OkStatus();
  }

  // nullptr: no more frames.
  absl::Status Send(const AVFrame* frame) {
    if (const int code = avcodec_send_frame(codec_.get(), frame); code < 0) return EncodeError("a frame", code);
    const Libav<AVPacket> packet = NewPacket();
    while (true) {
      const int code = avcodec_receive_packet(codec_.get(), packet.get());
      if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return absl::OkStatus();
      if (code < 0) return EncodeError("a packet", code);
      packet->duration = 1;
      av_packet_rescale_ts(packet.get(), codec_->time_base, stream_->time_base);
      packet->stream_index = stream_->index;
      if (const int written = av_interleaved_write_frame(container_.get(), packet.get()); written < 0) {
        return EncodeError("a packet", written);
      }
    }
  }

  std::unique_ptr<AVFormatContext, FreeOutput> container_;
  AVStream* stream_ = nullptr;  // container_'s
  Libav<AVCodecContext> codec_;
  Libav<SwsContext> to_yuv_;
  int64_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::string> EncodeClip(const std::vector<RgbImage>& frames, int fps) {
  PrepareLibav();
  if (frames.empty()) return absl::InvalidArgumentError("a clip of no frames cannot be encoded");
  const ImageSize size = frames.front().size;
  if (size.width < 2 || size.height < 2 || size.width % 2 != 0 || size.height % 2 != 0 || size.width > 8190 ||
      size.height > 8190) {
    return absl::InvalidArgumentError(
        absl::StrCat("a clip of ", size.width, "x", size.height, " pixels: both sides must be even, 2 to 8190"));
  }
  ClipEncoder encoder;
  if (absl::Status status = encoder.Open(size, fps); !status.ok()) return status;
  for (const RgbImage& frame : frames) {
    if (frame.size != size) return absl::InvalidArgumentError("the frames of a clip must be of one size");
    if (absl::Status status = encoder.Add(frame); !status.ok()) return status;
  }
  return encoder.Finish();
}

}  // namespace vitower
