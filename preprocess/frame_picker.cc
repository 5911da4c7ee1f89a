#include "preprocess/frame_picker.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

absl::Status AtPacket(size_t number, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("cannot decode packet ", number, ": ", std::string(status.message())));
}

absl::Status Damaged(int64_t rank) {
  return absl::InvalidArgumentError(absl::StrCat("frame ", rank, " is damaged: parts of it are missing"));
}

class TimePicker {
 public:
  TimePicker(VideoDecoder& decoder, const PacketIndex& index, absl::Span<const int64_t> wanted, const FrameSink& sink)
      : decoder_(decoder), index_(index), wanted_(wanted), sink_(sink), needed_(index.packets.size(), false) {
    for (const int64_t rank : wanted) needed_[PositionOf(rank)] = true;
    key_ = begin_ = index.KeyBefore(PositionOf(wanted.front()));
  }

  bool Done() const { return next_ == wanted_.size(); }

  // The packet at `position`, in order.
  absl::Status Take(size_t position, const AVPacket& packet) {
    const PacketEntry& entry = index_.packets[position];
    if (position < begin_ || packet.size == 0) return absl::OkStatus();
    // What shows before the key packet that decoding began with refers to pictures before it.
    if (position > begin_ && begin_ > 0 && entry.pts < index_.packets[begin_].pts) return absl::OkStatus();
    if (absl::Status status = decoder_.Send(&packet, needed_[position]); !status.ok()) {
      return AtPacket(position, status);
    }
    if (absl::Status status = TakeFrames(); !status.ok() || Done()) return status;
    SkipToKey(position);
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (absl::Status status = decoder_.Send(nullptr, true); !status.ok()) return status;
    if (absl::Status status = TakeFrames(); !status.ok()) return status;
    return Done() ? absl::OkStatus() : Missing();
  }

 private:
  size_t PositionOf(int64_t rank) const { return index_.shown[static_cast<size_t>(rank)]; }
  absl::Status Missing() const { return absl::NotFoundError(absl::StrCat("frame ", wanted_[next_], " did not come")); }

  absl::Status TakeFrames() {
    while (true) {
      const absl::StatusOr<const AVFrame*> frame = decoder_.Receive();
      if (!frame.ok()) return frame.status();
      if (*frame == nullptr || Done()) return absl::OkStatus();
      const int64_t wanted = index_.packets[PositionOf(wanted_[next_])].pts;
      if ((*frame)->pts > wanted) return Missing();
      if ((*frame)->pts < wanted) continue;
      if (!IsSound(**frame)) return Damaged(wanted_[next_]);
      if (absl::Status status = sink_(**frame); !status.ok()) return status;
      if (++next_ < wanted_.size()) key_ = index_.KeyBefore(PositionOf(wanted_[next_]));
    }
  }

  // Where what comes before it is needed no more.
  void SkipToKey(size_t position) {
    if (key_ <= position + 1) return;
    decoder_.Flush();
    begin_ = key_;
  }

  VideoDecoder& decoder_;
  const PacketIndex& index_;
  const absl::Span<const int64_t> wanted_;
  const FrameSink& sink_;
  std::vector<bool> needed_;  // by packet
  size_t begin_ = 0;          // decoding goes on, or will, from this packet on
  size_t next_ = 0;           // into wanted_
  size_t key_ = 0;            // where decoding can begin for the next one
};

class CountPicker {
 public:
  CountPicker(VideoDecoder& decoder, absl::Span<const int64_t> wanted, const FrameSink& sink)
      : decoder_(decoder), wanted_(wanted), sink_(sink) {}

  bool Done() const { return next_ == wanted_.size(); }
  int64_t frames() const { return frames_; }

  absl::Status Take(const AVPacket* packet) {
    if (absl::Status status = decoder_.Send(packet, true); !status.ok()) return status;
    while (true) {
      const absl::StatusOr<const AVFrame*> frame = decoder_.Receive();
      if (!frame.ok()) return frame.status();
      if (*frame == nullptr) return absl::OkStatus();
      if (!IsSound(**frame)) return Damaged(frames_);
      if (absl::Status status = TakeFrame(**frame); !status.ok()) return status;
    }
  }

 private:
  absl::Status TakeFrame(const AVFrame& frame) {
    const int64_t rank = frames_++;
    if (Done() || wanted_[next_] != rank) return absl::OkStatus();
    ++next_;
    return sink_(frame);
  }

  VideoDecoder& decoder_;
  const absl::Span<const int64_t> wanted_;
  const FrameSink& sink_;
  int64_t frames_ = 0;
  size_t next_ = 0;
};

}  // namespace

absl::Status PickByTime(VideoReader& reader, VideoDecoder& decoder, const PacketIndex& index,
                        absl::Span<const int64_t> wanted, const FrameSink& sink) {
  TimePicker picker(decoder, index, wanted, sink);
  const Libav<AVPacket> packet = NewPacket();
  for (size_t position = 0; position < index.packets.size() && !picker.Done(); ++position) {
    const absl::StatusOr<bool> more = reader.Read(*packet);
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (absl::Status status = picker.Take(position, *packet); !status.ok()) return status;
  }
  return picker.Done() ? absl::OkStatus() : picker.Finish();
}

absl::StatusOr<int64_t> PickByCount(VideoReader& reader, VideoDecoder& decoder, absl::Span<const int64_t> wanted,
                                    int64_t total, const FrameSink& sink) {
  CountPicker picker(decoder, wanted, sink);
  const Libav<AVPacket> packet = NewPacket();
  const bool to_the_end = wanted.back() == total - 1;
  for (size_t position = 0; to_the_end || !picker.Done(); ++position) {
    const absl::StatusOr<bool> more = reader.Read(*packet);
    if (!more.ok()) return more.status();
    if (*more && packet->size == 0) continue;
    if (absl::Status status = picker.Take(*more ? packet.get() : nullptr); !status.ok()) {
      return AtPacket(position, status);
    }
    if (!*more) break;
  }
  return to_the_end || !picker.Done() ? picker.frames() : total;
}

}  // namespace vitower
