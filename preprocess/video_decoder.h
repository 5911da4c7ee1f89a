#pragma once

// private header
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "preprocess/libav.h"
#include "preprocess/video.h"

namespace vitower {

// libav's decoder of one stream, on the calling thread. What it cannot decode as it stands is an error, never
// concealed. Not thread-safe. May throw std::bad_alloc.
class VideoDecoder final {
 public:
  // `reorder_depth`: frames it must hold back so that they come out in order.
  static absl::StatusOr<VideoDecoder> Create(const AVStream& stream, int reorder_depth, const VideoLimits& limits);

  // nullptr: nothing more comes. A packet whose frame nobody `needs` is left out where no other frame can need it.
  absl::Status Send(const AVPacket* packet, bool needed);

  // The next frame that is done, until Send or Flush; nullptr where it needs more packets.
  absl::StatusOr<const AVFrame*> Receive();

  // Forgets everything: the next packet must be a key packet.
  void Flush() { avcodec_flush_buffers(context_.get()); }

  // So many packets were sent: what decoding costs goes by it.
  int64_t packets() const { return packets_; }

 private:
  VideoDecoder() = default;

  Libav<AVCodecContext> context_;
  Libav<AVFrame> frame_;
  bool can_leave_out_ = false;
  int64_t packets_ = 0;
};

// Whether libav decoded the frame without anything missing.
bool IsSound(const AVFrame& frame);

}  // namespace vitower
