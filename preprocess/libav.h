#pragma once

// private header
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace vitower {

// libav's objects, owned.
struct FreeLibav {
  void operator()(AVFormatContext* context) const { avformat_close_input(&context); }
  void operator()(AVIOContext* io) const;
  void operator()(AVCodecContext* context) const { avcodec_free_context(&context); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};
template <typename T>
using Libav = std::unique_ptr<T, FreeLibav>;

// May throw std::bad_alloc.
Libav<AVPacket> NewPacket();
Libav<AVFrame> NewFrame();

// Of a single allocation of libav's, whatever a file claims: the planes of a frame and the tables of a header fit.
inline constexpr size_t kMaxLibavAlloc = size_t{512} << 20;

// Once a process, before anything else of libav: sets kMaxLibavAlloc, and that nothing is written to stderr.
void PrepareLibav();

// RESOURCE_EXHAUSTED where `code` is libav's out of memory, else INVALID_ARGUMENT: `what`, then the code's text.
absl::Status LibavError(std::string_view what, int code);

}  // namespace vitower
