#include "preprocess/packet_index.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

// VP8 has packets of frames that are only referred to.
bool IsShown(const AVPacket& packet, AVCodecID codec) {
  if (packet.size == 0 || (packet.flags & AV_PKT_FLAG_DISCARD) != 0) return false;
  constexpr uint8_t kVp8ShowFrame = 0x10;
  return codec != AV_CODEC_ID_VP8 || (packet.data[0] & kVp8ShowFrame) != 0;
}

// AVI, and what Matroska takes over from it with a four-character code, have no times of showing; libav then takes
// those of decoding for them.
bool HasTimesOfShowing(const VideoReader& reader) {
  const AVCodecParameters& codec = *reader.stream().codecpar;
  const bool from_avi =
      reader.container() == Container::kAvi || (reader.container() == Container::kMatroska && codec.codec_tag != 0);
  return !from_avi || codec.codec_id == AV_CODEC_ID_VP8 || codec.codec_id == AV_CODEC_ID_VP9 ||
         codec.codec_id == AV_CODEC_ID_AV1;
}

bool SortByTime(PacketIndex& index) {
  const auto pts = [&](size_t position) { return index.packets[position].pts; };
  std::vector<size_t> sorted = index.shown;
  if (std::any_of(sorted.begin(), sorted.end(), [&](size_t i) { return pts(i) == AV_NOPTS_VALUE; })) return false;
  std::sort(sorted.begin(), sorted.end(), [&](size_t a, size_t b) { return pts(a) < pts(b); });
  const auto same = [&](size_t a, size_t b) { return pts(a) == pts(b); };
  if (std::adjacent_find(sorted.begin(), sorted.end(), same) != sorted.end()) return false;
  index.shown = std::move(sorted);
  return true;
}

// The largest number of packets that come before one and show after it. REQUIRES: index.timed.
int ReorderDepth(const PacketIndex& index) {
  constexpr int kDeepest = 16;  // that a decoder can hold
  int depth = 0;
  for (size_t rank = 0; rank < index.shown.size(); ++rank) {
    const size_t end = std::min(index.shown.size(), rank + 1 + 2 * size_t{kDeepest});
    const auto earlier = [&](size_t position) { return position < index.shown[rank]; };
    const auto count = std::count_if(index.shown.begin() + static_cast<int64_t>(rank) + 1,
                                     index.shown.begin() + static_cast<int64_t>(end), earlier);
    depth = std::max(depth, static_cast<int>(count));
  }
  return std::min(depth, kDeepest);
}

// From the first frame to the end of the last, in units of the stream; doubles, since a file may claim any time.
class TimeSpan {
 public:
  void Add(const AVPacket& packet) {
    const int64_t time = packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
    if (time == AV_NOPTS_VALUE) return;
    const auto begin = static_cast<double>(time);
    first_ = std::min(first_, begin);
    if (begin < last_) return;
    last_ = begin;
    last_duration_ = static_cast<double>(packet.duration);
  }

  double last() const { return last_; }

  // A last frame of unknown duration is taken to last as long as the others do.
  double Length(size_t frames) const {
    if (last_ <= first_) return std::max(last_duration_, 0.0);
    const double others = last_ - first_;
    return others + (last_duration_ > 0 || frames < 2 ? last_duration_ : others / static_cast<double>(frames - 1));
  }

 private:
  double first_ = std::numeric_limits<double>::max();
  double last_ = std::numeric_limits<double>::lowest();
  double last_duration_ = 0;
};

// An AVI header counts its frames, and so do its times: those too that a recorder dropped, of which there is no packet.
// (MP4 counts those before editing, and the reader compares with the edited index.)
absl::Status CheckCount(const VideoReader& reader, double last_time) {
  const int64_t claimed = reader.container() == Container::kAvi ? reader.frame_count().value_or(0) : 0;
  if (claimed == 0 || static_cast<double>(claimed) <= last_time + 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("video is truncated: the header claims ", claimed, " frames, the file ends with frame ", last_time));
}

// The container's rate where it explains the number of frames, else theirs: it is wrong for clips of varying rate.
double AverageFps(const PacketIndex& index, std::optional<double> claimed) {
  const auto frames = static_cast<double>(index.shown.size());
  if (index.duration_seconds <= 0) return claimed.value_or(0);
  const double tolerance = std::max(1.0, frames / 50);
  if (claimed && std::abs(index.duration_seconds * *claimed - frames) <= tolerance) return *claimed;
  return frames / index.duration_seconds;
}

}  // namespace

size_t PacketIndex::KeyBefore(size_t position) const {
  if (!may_skip) return 0;
  for (size_t i = position + 1; i-- > 0;) {
    if (packets[i].key && packets[i].pts <= packets[position].pts) return i;
  }
  return 0;
}

int64_t PacketIndex::Leading() const {
  const auto key = std::find_if(packets.begin(), packets.end(), [](const PacketEntry& entry) { return entry.key; });
  if (!timed || key == packets.end()) return 0;
  return std::count_if(shown.begin(), shown.end(), [&](size_t i) { return packets[i].pts < key->pts; });
}

absl::Status TooManyFrames(int64_t frames, const VideoLimits& limits) {
  return absl::InvalidArgumentError(absl::StrCat("video has ", frames, " frames, the limit is ", limits.max_frames));
}

absl::Status TooLong(double seconds, const VideoLimits& limits) {
  return absl::InvalidArgumentError(
      absl::StrCat("video is ", seconds, " s long, the limit is ", limits.max_seconds, " s"));
}

absl::StatusOr<PacketIndex> ScanPackets(VideoReader& reader, const VideoLimits& limits, size_t most_packets) {
  const AVStream& stream = reader.stream();
  const AVCodecID codec = stream.codecpar->codec_id;
  PacketIndex index;
  const Libav<AVPacket> packet = NewPacket();
  TimeSpan span;
  while (index.whole) {
    const absl::StatusOr<bool> more = reader.Read(*packet);
    if (!more.value_or(false)) {
      if (!more.ok() && !reader.cut_off()) return more.status();
      index.whole = !reader.cut_off();
      break;
    }
    const bool shown = IsShown(*packet, codec);
    if (shown) index.shown.push_back(index.packets.size());
    index.packets.push_back({.pts = packet->pts, .key = (packet->flags & AV_PKT_FLAG_KEY) != 0, .shown = shown});
    if (static_cast<int64_t>(index.packets.size()) > limits.max_frames) {
      return TooManyFrames(reader.frame_count().value_or(static_cast<int64_t>(index.packets.size())), limits);
    }
    if (shown) span.Add(*packet);
    if (index.packets.size() == most_packets) index.whole = false;
  }
  if (index.whole) {
    if (index.shown.empty()) return absl::InvalidArgumentError("video has no frames");
    if (absl::Status status = CheckCount(reader, span.last()); !status.ok()) return status;
  }
  index.duration_seconds = span.Length(index.shown.size()) * av_q2d(stream.time_base);
  if (index.duration_seconds > limits.max_seconds) return TooLong(index.duration_seconds, limits);
  index.timed = HasTimesOfShowing(reader) && SortByTime(index);
  index.may_skip = index.timed && codec != AV_CODEC_ID_GIF;
  index.reorder_depth = index.timed ? ReorderDepth(index) : 16;
  index.fps = AverageFps(index, reader.fps());
  return index;
}

}  // namespace vitower
