#include "preprocess/video_reader.h"

extern "C" {
#include <libavutil/dict.h>
#include <libavutil/mem.h>
}

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "preprocess/clip_writer.h"
#include "preprocess/display_matrix.h"

namespace vitower {
namespace {

constexpr std::array kCodecs = {AV_CODEC_ID_H264, AV_CODEC_ID_HEVC,  AV_CODEC_ID_VP8, AV_CODEC_ID_VP9,
                                AV_CODEC_ID_AV1,  AV_CODEC_ID_MPEG4, AV_CODEC_ID_GIF};

// The demuxer's own name of a container, of libav's many.
const char* DemuxerOf(Container container) { return container == Container::kMp4 ? "mov" : Name(container).data(); }

int RefuseToOpen(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) { return AVERROR(EACCES); }

// A file can name others: none is opened, whatever the demuxer's defaults are.
AVDictionary* DemuxerOptions(Container container) {
  AVDictionary* options = nullptr;
  av_dict_set(&options, "protocol_whitelist", "", 0);
  av_dict_set(&options, "codec_whitelist", "h264,hevc,vp8,vp9,av1,libdav1d,libaom-av1,mpeg4,gif", 0);
  av_dict_set(&options, "max_streams", "64", 0);
  if (container == Container::kMp4) {
    av_dict_set(&options, "enable_drefs", "0", 0);
    av_dict_set(&options, "ignore_chapters", "1", 0);
  }
  return options;
}

}  // namespace

int VideoReader::ReadSource(void* opaque, uint8_t* target, int count) {
  auto& source = *static_cast<Source*>(opaque);
  const size_t rest = source.bytes.size() - source.position;
  const size_t taken = std::min({rest, source.left, static_cast<size_t>(std::max(count, 0))});
  if (taken == 0) return AVERROR_EOF;
  std::memcpy(target, source.bytes.data() + source.position, taken);
  source.position += taken;
  source.left -= taken;
  return static_cast<int>(taken);
}

int64_t VideoReader::SeekSource(void* opaque, int64_t offset, int whence) {
  auto& source = *static_cast<Source*>(opaque);
  const auto size = static_cast<int64_t>(source.bytes.size());
  if ((whence & AVSEEK_SIZE) != 0) return size;
  whence &= ~AVSEEK_FORCE;
  if (whence == SEEK_CUR) offset += static_cast<int64_t>(source.position);
  if (whence == SEEK_END) offset += size;
  if (offset < 0 || offset > size) return AVERROR(EINVAL);
  source.position = static_cast<size_t>(offset);
  return offset;
}

absl::StatusOr<VideoReader> VideoReader::Open(absl::Span<const uint8_t> bytes, std::function<bool()> gone) {
  PrepareLibav();
  const ByteView file(bytes);
  const absl::StatusOr<Container> container = ContainerOf(file);
  if (!container.ok()) return container.status();
  if (absl::Status status = CheckWhole(*container, file); !status.ok()) return status;
  VideoReader reader;
  reader.container_ = *container;
  reader.gone_ = std::move(gone);
  reader.fragmented_ = *container == Container::kMp4 && IsFragmented(file);
  reader.source_ = std::make_unique<Source>(Source{.bytes = bytes});
  if (absl::Status status = reader.OpenFormat(); !status.ok()) return status;
  if (absl::Status status = reader.ChooseStream(); !status.ok()) return status;
  if (absl::Status status = reader.CheckIndex(); !status.ok()) return status;
  return reader;
}

absl::Status VideoReader::OpenFormat() {
  constexpr int kBuffer = 64 * 1024;
  auto* buffer = static_cast<uint8_t*>(av_malloc(kBuffer));
  if (buffer == nullptr) throw std::bad_alloc();
  io_.reset(avio_alloc_context(buffer, kBuffer, /*write_flag=*/0, source_.get(), ReadSource, nullptr, SeekSource));
  if (io_ == nullptr) {
    av_free(buffer);
    throw std::bad_alloc();
  }
  AVFormatContext* format = avformat_alloc_context();
  if (format == nullptr) throw std::bad_alloc();
  format->pb = io_.get();
  format->flags |= AVFMT_FLAG_CUSTOM_IO;
  format->io_open = RefuseToOpen;
  const AVInputFormat* demuxer = av_find_input_format(DemuxerOf(container_));
  AVDictionary* options = DemuxerOptions(container_);
  const int code = avformat_open_input(&format, "", demuxer, &options);  // frees `format` where it fails
  av_dict_free(&options);
  format_.reset(format);
  if (code == AVERROR(ENOMEM)) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(Name(container_)), " video claims tables of more than ", kMaxLibavAlloc, " bytes"));
  }
  if (code < 0) return LibavError(absl::StrCat("cannot read the ", std::string(Name(container_)), " video"), code);
  return absl::OkStatus();
}

absl::Status VideoReader::ChooseStream() {
  const absl::Span<AVStream* const> streams(format_->streams, format_->nb_streams);
  const auto is_video = [](const AVStream* stream) {
    return stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
           (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) == 0;
  };
  const auto found = std::find_if(streams.begin(), streams.end(), is_video);
  if (found == streams.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        std::string(Name(container_)), " video has no video stream among its ", streams.size(), " streams"));
  }
  for (AVStream* stream : streams) stream->discard = stream == *found ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
  stream_ = static_cast<unsigned>(found - streams.begin());
  if (std::find(kCodecs.begin(), kCodecs.end(), stream().codecpar->codec_id) == kCodecs.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("video codec ", std::string(codec()),
                     " is not accepted; accepted are H.264, H.265, VP8, VP9, AV1, MPEG-4 and GIF"));
  }
  return FindSize();
}

// libav's MP4 demuxer leaves the size of MPEG-4 to the decoder: there, and nowhere else, the first packet is decoded.
absl::Status VideoReader::FindSize() {
  if (stored_size() == ImageSize{} && stream().codecpar->codec_id == AV_CODEC_ID_MPEG4) {
    constexpr int64_t kMaxBytes = int64_t{1} << 20;
    format_->probesize = kMaxBytes;
    std::vector<AVDictionary*> options(format_->nb_streams, nullptr);
    av_dict_set(&options[stream_], "max_pixels", "67108864", 0);
    av_dict_set(&options[stream_], "threads", "1", 0);
    const int code = avformat_find_stream_info(format_.get(), options.data());
    for (AVDictionary*& dictionary : options) av_dict_free(&dictionary);
    if (code < 0) return LibavError("cannot find the video's size", code);
  }
  const auto [height, width] = stored_size();
  if (height >= 1 && width >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("video claims a size of ", width, " x ", height, " pixels"));
}

// Every frame the container's index lists lies in the file.
absl::Status VideoReader::CheckIndex() const {
  AVStream* stream = format_->streams[stream_];
  const int entries = avformat_index_get_entries_count(stream);
  for (int i = 0; i < entries; ++i) {
    const AVIndexEntry* entry = avformat_index_get_entry(stream, i);
    const auto end = static_cast<uint64_t>(entry->pos) + static_cast<uint64_t>(entry->size);
    if (entry->pos >= 0 && end <= source_->bytes.size()) continue;
    return CutShort(container_, absl::StrCat("frame ", i), end, ByteView(source_->bytes));
  }
  return absl::OkStatus();
}

// libav calls it the end too when the next frame is not there.
absl::Status VideoReader::CheckAllRead() const {
  const int64_t entries = avformat_index_get_entries_count(format_->streams[stream_]);
  if (packets_read_ >= entries) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("video is truncated: its index lists ", entries, " packets, the file has ", packets_read_));
}

double VideoReader::share_read() const {
  return static_cast<double>(avio_tell(io_.get())) / static_cast<double>(source_->bytes.size());
}

int VideoReader::orientation() const { return OrientationOf(stream()); }

std::optional<double> VideoReader::fps() const {
  const AVRational rate = stream().avg_frame_rate;
  if (rate.num <= 0 || rate.den <= 0) return std::nullopt;
  return av_q2d(rate);
}

std::optional<double> VideoReader::duration_seconds() const {
  if (fragmented_) return std::nullopt;
  if (stream().duration > 0) return static_cast<double>(stream().duration) * av_q2d(stream().time_base);
  if (format_->duration > 0) return static_cast<double>(format_->duration) / AV_TIME_BASE;
  return std::nullopt;
}

std::optional<int64_t> VideoReader::frame_count() const {
  if (stream().nb_frames > 0 && !fragmented_) return stream().nb_frames;
  return std::nullopt;
}

absl::StatusOr<bool> VideoReader::Read(AVPacket& packet) {
  constexpr int64_t kReadsBetweenQuestions = 8;  // packets of the largest frames take tens of milliseconds each
  while (true) {
    if (reads_++ % kReadsBetweenQuestions == 0) {
      if (absl::Status wanted = CheckWanted(gone_); !wanted.ok()) return wanted;
    }
    av_packet_unref(&packet);
    const int code = av_read_frame(format_.get(), &packet);
    if (code == AVERROR_EOF) {
      if (absl::Status status = CheckAllRead(); !status.ok()) return status;
      return false;
    }
    if (code < 0) return LibavError(absl::StrCat("video is damaged after ", packets_read_, " packets"), code);
    if (packet.stream_index != static_cast<int>(stream_)) continue;
    if ((packet.flags & AV_PKT_FLAG_CORRUPT) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("video is truncated or damaged in packet ", packets_read_));
    }
    ++packets_read_;
    return true;
  }
}

}  // namespace vitower
