#pragma once

// private header
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/container.h"
#include "preprocess/libav.h"
#include "preprocess/video.h"

namespace vitower {

// A clip in memory, demuxed: the packets of its first video stream from the beginning on. Only the demuxer of the
// container is ever opened, nothing but the given bytes is ever read, and no decoder runs. The bytes must outlive it.
// Not thread-safe. May throw std::bad_alloc; everything else is a status.
class VideoReader final {
 public:
  // Reads the headers. Refuses what is cut short, has no video stream, or one whose codec is not on the list.
  // `gone` as in ClipOptions.
  static absl::StatusOr<VideoReader> Open(absl::Span<const uint8_t> bytes, std::function<bool()> gone = {});

  Container container() const { return container_; }
  const AVStream& stream() const { return *format_->streams[stream_]; }
  std::string_view codec() const { return avcodec_get_name(stream().codecpar->codec_id); }
  ImageSize stored_size() const { return {.height = stream().codecpar->height, .width = stream().codecpar->width}; }

  // How the frames are to be seen, by the container's display matrix: as EXIF numbers it.
  int orientation() const;

  // By the header; unset where it does not say, or not of all of the clip.
  std::optional<double> fps() const;
  std::optional<double> duration_seconds() const;
  std::optional<int64_t> frame_count() const;

  // The next packet of the stream; false at its end. A packet that the file does not hold completely is an error.
  // CANCELLED where `gone` says so.
  absl::StatusOr<bool> Read(AVPacket& packet);

  // Reads no more than so many bytes from now on: the clip ends, or fails, where they are used up.
  void CutOffAfter(size_t bytes) { source_->left = bytes; }
  bool cut_off() const { return source_->left == 0; }
  // How much of the clip's bytes lies before the place that was read to.
  double share_read() const;

 private:
  struct Source {
    absl::Span<const uint8_t> bytes;
    size_t position = 0;
    size_t left = std::numeric_limits<size_t>::max();  // to be read
  };
  static int ReadSource(void* source, uint8_t* target, int count);
  static int64_t SeekSource(void* source, int64_t offset, int whence);

  VideoReader() = default;

  absl::Status OpenFormat();
  absl::Status ChooseStream();
  absl::Status FindSize();
  absl::Status CheckIndex() const;
  absl::Status CheckAllRead() const;

  Container container_ = Container::kMp4;
  bool fragmented_ = false;
  std::unique_ptr<Source> source_;
  Libav<AVIOContext> io_;
  Libav<AVFormatContext> format_;  // uses io_: closed before it
  std::function<bool()> gone_;
  unsigned stream_ = 0;
  int64_t packets_read_ = 0;  // of the stream
  int64_t reads_ = 0;         // of packets of any
};

}  // namespace vitower
