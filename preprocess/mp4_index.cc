#include "preprocess/mp4_index.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "preprocess/mp4_box.h"

namespace vitower {
namespace {

constexpr uint64_t kBytesAnEntry = 8;
constexpr uint64_t kEndless = uint64_t{1} << 40;
constexpr uint64_t kMostEdits = uint64_t{1} << 20;  // beyond which their number makes no difference
constexpr int kDepth = 11;                          // libav goes no deeper

constexpr std::array<std::string_view, 4> kNeverOpened = {"mdat", "free", "skip", "wide"};
// Boxes that stand behind fields of many layouts: they may hold boxes, of which none matters here.
constexpr std::array<std::string_view, 2> kOpaque = {"stsd", "wave"};
constexpr std::array<std::string_view, 11> kCounted = {"stsz", "stz2", "stts", "stsc", "stco", "co64",
                                                       "elst", "trun", "hdlr", "trak", "cmov"};
constexpr std::array<std::string_view, 6> kNotSound = {"vide", "subp", "clcp", "text", "sbtl", "subt"};

template <size_t kCount>
bool IsOneOf(std::string_view type, const std::array<std::string_view, kCount>& names) {
  return std::find(names.begin(), names.end(), type) != names.end();
}

// What the boxes of one track say.
struct Track {
  uint64_t samples = 0;
  uint64_t chunks = 0;
  uint64_t edits = 0;
  std::vector<Mp4Box> runs;  // tables of chunks with equally many samples
  bool sound = false;
  bool not_sound = false;
  bool one_tick = false;  // every sample lasts a unit of time
  bool other_times = false;
};

class EntryCounter {
 public:
  explicit EntryCounter(ByteView file) : file_(file) {}

  // Of the boxes in [begin, end), which stand in `track`.
  absl::Status Count(size_t begin, size_t end, Track& track, int depth) {
    while (const std::optional<Mp4Box> box = ReadMp4Box(file_, begin, end)) {
      begin = box->end < end ? static_cast<size_t>(box->end) : end;
      if (IsOneOf(box->type, kNeverOpened)) continue;
      if (absl::Status status = CountBox(*box, begin, track, depth); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  uint64_t entries() const { return entries_; }

 private:
  uint64_t U32(const Mp4Box& box, size_t offset) const { return file_.U32(box.body + offset, Endian::kBig); }
  void Add(uint64_t entries) { entries_ = std::min(kEndless, entries_ + std::min(kEndless, entries)); }

  absl::Status CountBox(const Mp4Box& box, size_t end, Track& track, int depth) {
    if (box.type == "cmov") return absl::InvalidArgumentError("mp4 video has a compressed header: it is not accepted");
    if (IsOneOf(box.type, kOpaque)) return CheckOpaque(box, end);
    Note(box, track);
    if (depth == 0) return absl::OkStatus();
    const size_t begin = box.type == "meta" ? BeginOfMeta(box.body, end) : box.body;
    if (box.type != "trak") return Count(begin, end, track, depth - 1);
    Track own;
    absl::Status status = Count(begin, end, own, depth - 1);
    Add(std::min(EntriesOf(own), kEndless) * std::clamp(own.edits, uint64_t{1}, kMostEdits));
    return status;
  }

  absl::Status CheckOpaque(const Mp4Box& box, size_t end) const {
    const std::string_view text = file_.Part(box.body, end - box.body).Text();
    for (const std::string_view type : kCounted) {
      if (text.find(type) == std::string_view::npos) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("mp4 video is damaged: box ", std::string(type), " inside of ", std::string(box.type)));
    }
    return absl::OkStatus();
  }

  // libav looks for the first box by its name.
  size_t BeginOfMeta(size_t body, size_t end) const {
    for (size_t at = body; at + 4 <= end; at += 4) {
      if (file_.From(at).StartsWith("hdlr")) return at >= body + 4 ? at - 4 : body;
    }
    return end;
  }

  void Note(const Mp4Box& box, Track& track) {
    if (box.type == "stsz" || box.type == "stz2") track.samples += U32(box, 8);
    if (box.type == "stco" || box.type == "co64") track.chunks += U32(box, 4);
    if (box.type == "elst") track.edits += U32(box, 4);
    if (box.type == "trun") Add(U32(box, 4));
    if (box.type == "stsc") track.runs.push_back(box);
    if (box.type == "stts") (U32(box, 4) == 1 && U32(box, 12) == 1 ? track.one_tick : track.other_times) = true;
    if (box.type != "hdlr") return;
    const std::string_view kind = file_.Part(box.body + 8, 4).Text();
    track.sound = track.sound || kind == "soun";
    track.not_sound = track.not_sound || IsOneOf(kind, kNotSound);
  }

  // Sound whose samples last one tick, raw values as a rule, gets no entry for each of them but some for each chunk.
  uint64_t EntriesOf(const Track& track) const {
    const bool by_chunk = track.sound && !track.not_sound && track.one_tick && !track.other_times;
    return by_chunk ? ChunkEntries(track) : std::max(track.samples, ChunkEntries(track));
  }

  uint64_t ChunkEntries(const Track& track) const {
    uint64_t entries = 0;
    for (const Mp4Box& box : track.runs) entries += ChunkEntries(box, track.chunks);
    return entries;
  }

  uint64_t ChunkEntries(const Mp4Box& box, uint64_t chunks) const {
    constexpr uint64_t kFewestSamples = 160;  // of an entry
    const uint64_t runs = U32(box, 4);
    if (8 + 12 * runs > box.end - box.body) return kEndless;
    uint64_t entries = 0;
    for (uint64_t i = 0; i < runs && entries < kEndless; ++i) {
      const size_t at = 8 + 12 * static_cast<size_t>(i);
      const uint64_t first = i == 0 ? 1 : U32(box, at);
      const uint64_t next = i + 1 < runs ? U32(box, at + 12) : chunks + 1;
      entries += (next > first ? next - first : chunks) * (U32(box, at + 4) / kFewestSamples + 1);
    }
    return std::min(entries, kEndless);
  }

  const ByteView file_;
  uint64_t entries_ = 0;
};

}  // namespace

std::optional<Mp4Box> ReadMp4Box(ByteView file, size_t offset, size_t limit) {
  if (offset >= limit || limit - offset < 8) return std::nullopt;
  Mp4Box box = {.type = file.Part(offset + 4, 4).Text(), .body = offset + 8};
  uint64_t size = file.U32(offset, Endian::kBig);
  if (size == 1 && limit - offset >= 16) {
    size = uint64_t{file.U32(offset + 8, Endian::kBig)} << 32 | file.U32(offset + 12, Endian::kBig);
    box.body += 8;
  }
  if (size == 0) size = limit - offset;
  if (size < box.body - offset || size > UINT64_MAX - offset) return std::nullopt;
  box.end = offset + size;
  return box;
}

absl::Status CheckMp4Index(ByteView file) {
  EntryCounter counter(file);
  Track none;
  if (absl::Status status = counter.Count(0, file.size(), none, kDepth); !status.ok()) return status;
  if (counter.entries() * kBytesAnEntry <= file.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("mp4 video claims ", counter.entries(),
                                                 " samples (each once for every edit) in a file of ", file.size(),
                                                 " bytes, of which a sample takes at least ", kBytesAnEntry));
}

}  // namespace vitower
