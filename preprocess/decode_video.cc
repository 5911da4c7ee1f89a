#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/clip_writer.h"
#include "preprocess/frame_converter.h"
#include "preprocess/frame_picker.h"
#include "preprocess/packet_index.h"
#include "preprocess/video_header.h"

namespace vitower {
namespace {

// One decoding of a clip from its beginning: which frames, into what, from where.
class Pass {
 public:
  Pass(absl::Span<const uint8_t> bytes, const PacketIndex& index, const VideoLimits& limits,
       const SamplingOptions& sampling, const ClipOptions& options)
      : bytes_(bytes), index_(index), limits_(limits), sampling_(sampling), options_(options) {}

  absl::StatusOr<Clip> ByTime() {
    const auto pick = [&](VideoReader& reader, VideoDecoder& decoder, absl::Span<const int64_t> wanted,
                          const FrameSink& sink) { return PickByTime(reader, decoder, index_, wanted, sink); };
    return Run(static_cast<int64_t>(index_.shown.size()), pick);
  }

  // `total` becomes the number of frames there are.
  absl::StatusOr<Clip> ByCount(int64_t& total) {
    const int64_t expected = total;
    const auto pick = [&](VideoReader& reader, VideoDecoder& decoder, absl::Span<const int64_t> wanted,
                          const FrameSink& sink) {
      const absl::StatusOr<int64_t> frames = PickByCount(reader, decoder, wanted, expected, sink);
      if (frames.ok()) total = *frames;
      if (frames.ok() && *frames != expected) {
        return absl::NotFoundError(absl::StrCat("the clip has ", *frames, " frames, not ", expected));
      }
      return frames.status();
    };
    return Run(expected, pick);
  }

 private:
  template <typename Pick>
  absl::StatusOr<Clip> Run(int64_t total, Pick pick) {
    const std::optional<double> fps = index_.fps > 0 ? std::optional(index_.fps) : std::nullopt;
    absl::StatusOr<std::vector<int64_t>> indices = SampleFrames(total, fps, sampling_);
    if (!indices.ok()) return indices.status();
    absl::StatusOr<VideoReader> reader = VideoReader::Open(bytes_, options_.gone);
    if (!reader.ok()) return reader.status();
    absl::StatusOr<VideoDecoder> decoder = VideoDecoder::Create(reader->stream(), index_.reorder_depth, limits_);
    if (!decoder.ok()) return decoder.status();
    FrameConverter converter(reader->stored_size(), reader->orientation());
    absl::StatusOr<ClipWriter> writer =
        ClipWriter::Create(static_cast<int64_t>(indices->size()), converter.upright(), options_);
    if (!writer.ok()) return writer.status();
    const auto sink = [&, slot = size_t{0}](const AVFrame& frame) mutable {
      const absl::StatusOr<absl::Span<const uint8_t>> rgb = converter.Convert(frame);
      if (!rgb.ok()) return rgb.status();
      writer->Add(*rgb);
      for (++slot; slot < indices->size() && (*indices)[slot] == (*indices)[slot - 1]; ++slot) writer->Repeat();
      return absl::OkStatus();
    };
    std::vector<int64_t> wanted = *indices;
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    if (absl::Status status = pick(*reader, *decoder, wanted, sink); !status.ok()) return status;
    const std::chrono::nanoseconds resize_time = writer->resize_time();
    Clip clip = MakeClip(std::move(*writer).Finish(), *std::move(indices), fps, options_);
    clip.resize_time = resize_time;
    return clip;
  }

  const absl::Span<const uint8_t> bytes_;
  const PacketIndex& index_;
  const VideoLimits& limits_;
  const SamplingOptions& sampling_;
  const ClipOptions& options_;
};

absl::Status FewerFrames(int64_t found, int64_t packets) {
  return absl::InvalidArgumentError(
      absl::StrCat("video is damaged: ", found, " frames came out of its ", packets, " packets"));
}

// Packets of which no frame may come although nothing is damaged: those before the first key frame, and the
// placeholders that MPEG-4 writes for a frame packed into another's packet.
int64_t MayBeMissing(const PacketIndex& index, const VideoHeader& header) {
  return header.codec == "mpeg4" ? static_cast<int64_t>(index.shown.size()) : index.Leading();
}

absl::StatusOr<Clip> DecodeScanned(Pass pass, const PacketIndex& index, const VideoHeader& header) {
  if (index.timed) {
    absl::StatusOr<Clip> clip = pass.ByTime();
    const bool again = absl::IsNotFound(clip.status()) || (absl::IsInvalidArgument(clip.status()) && index.may_skip);
    if (!again) return clip;
  }
  const auto packets = static_cast<int64_t>(index.shown.size());
  int64_t total = packets;
  absl::StatusOr<Clip> clip = pass.ByCount(total);
  if (!absl::IsNotFound(clip.status())) return clip;
  if (total < 1 || packets - total > MayBeMissing(index, header)) return FewerFrames(total, packets);
  clip = pass.ByCount(total);
  return absl::IsNotFound(clip.status()) ? FewerFrames(total, packets) : std::move(clip);
}

absl::StatusOr<Clip> Decode(absl::Span<const uint8_t> bytes, const VideoLimits& limits, const SamplingOptions& sampling,
                            const ClipOptions& options) {
  absl::StatusOr<VideoReader> reader = VideoReader::Open(bytes, options.gone);
  if (!reader.ok()) return reader.status();
  const absl::StatusOr<VideoHeader> header = ReadHeader(*reader, limits);
  if (!header.ok()) return header.status();
  const absl::StatusOr<PacketIndex> index = ScanPackets(*reader, limits);
  if (!index.ok()) return index.status();
  absl::StatusOr<Clip> clip = DecodeScanned({bytes, *index, limits, sampling, options}, *index, *header);
  if (clip.ok()) return clip;
  return absl::Status(clip.status().code(),
                      absl::StrCat(header->codec, " video: ", std::string(clip.status().message())));
}

}  // namespace

absl::StatusOr<Clip> DecodeVideo(absl::Span<const uint8_t> bytes, const VideoLimits& limits,
                                 const SamplingOptions& sampling, const ClipOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  try {
    absl::StatusOr<Clip> clip = Decode(bytes, limits, sampling, options);
    if (clip.ok()) clip->decode_time = std::chrono::steady_clock::now() - start - clip->resize_time;
    return clip;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("not enough memory to decode a video of ", bytes.size(), " bytes"));
  }
}

}  // namespace vitower
