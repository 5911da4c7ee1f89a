#include "preprocess/libav.h"

extern "C" {
#include <libavutil/error.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
}

#include <array>
#include <new>

#include "absl/strings/str_cat.h"

namespace vitower {

void FreeLibav::operator()(AVIOContext* io) const {
  av_freep(&io->buffer);
  avio_context_free(&io);
}

Libav<AVPacket> NewPacket() {
  Libav<AVPacket> packet(av_packet_alloc());
  if (packet == nullptr) throw std::bad_alloc();
  return packet;
}

Libav<AVFrame> NewFrame() {
  Libav<AVFrame> frame(av_frame_alloc());
  if (frame == nullptr) throw std::bad_alloc();
  return frame;
}

void PrepareLibav() {
  static const bool done = [] {
    av_log_set_level(AV_LOG_QUIET);
    av_log_set_callback([](void*, int, const char*, va_list) {});
    av_max_alloc(kMaxLibavAlloc);
    return true;
  }();
  static_cast<void>(done);
}

absl::Status LibavError(std::string_view what, int code) {
  if (code == AVERROR(ENOMEM)) {
    return absl::ResourceExhaustedError(absl::StrCat(std::string(what), ": not enough memory"));
  }
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(code, text.data(), text.size());
  return absl::InvalidArgumentError(absl::StrCat(std::string(what), ": ", text.data()));
}

}  // namespace vitower
