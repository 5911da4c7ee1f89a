#include "client/item_wire.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>
#include <variant>

#include "client/wire.h"
#include "proto/slice_writer.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

// The bytes of an item's source: the number of their field, and of the message that has it, 0 where that is the item.
struct SourceBytes {
  int message_field = 0;
  int field = 0;
  std::vector<std::string_view> values;
};

SourceBytes BytesOf(const ImageSource& source) { return {0, v1::Item::kImageFieldNumber, {source.data}}; }

SourceBytes BytesOf(const VideoSource& source) {
  return {v1::Item::kVideoFieldNumber, v1::EncodedVideo::kDataFieldNumber, {source.data}};
}

SourceBytes BytesOf(const FramesSource& source) {
  return {v1::Item::kFramesFieldNumber,
          v1::FrameList::kImagesFieldNumber,
          {source.images.begin(), source.images.end()}};
}

SourceBytes BytesOf(const RgbSource& source) {
  return {v1::Item::kRgbFieldNumber, v1::RawRgb::kDataFieldNumber, {source.data}};
}

SourceBytes BytesOf(const PatchesSource& source) {
  return {v1::Item::kPatchesFieldNumber, v1::PatchRows::kDataFieldNumber, {source.data}};
}

// An item as one message in which the source's bytes stand last. (The order of fields is the writer's to choose, and a
// message that comes in two pieces is both.)
class ItemWire final {
 public:
  explicit ItemWire(const std::shared_ptr<const EmbedItem>& item)
      : item_(item), bytes_(std::visit([](const auto& source) { return BytesOf(source); }, item->source)) {
    v1::Item head;
    FillItem(*item, head);
    head_ = head.SerializeAsString();
    for (const std::string_view value : bytes_.values) bytes_size_ += FieldSize(bytes_.field, value.size());
  }

  size_t size() const {
    return head_.size() + (bytes_.message_field == 0 ? bytes_size_ : FieldSize(bytes_.message_field, bytes_size_));
  }

  // REQUIRES: the writer holds the item.
  void Write(SliceWriter& out) const {
    out.Copy(head_);
    if (bytes_.message_field != 0) out.FieldHead(bytes_.message_field, bytes_size_);
    for (const std::string_view value : bytes_.values) {
      out.FieldHead(bytes_.field, value.size());
      out.Refer(value);
    }
  }

 private:
  const std::shared_ptr<const EmbedItem> item_;
  const SourceBytes bytes_;
  std::string head_;
  size_t bytes_size_ = 0;
};

void Append(std::vector<grpc::Slice> slices, std::vector<grpc::Slice>& out) {
  out.insert(out.end(), std::make_move_iterator(slices.begin()), std::make_move_iterator(slices.end()));
}

}  // namespace

grpc::ByteBuffer RequestWire(const std::vector<std::shared_ptr<const EmbedItem>>& items) {
  std::vector<grpc::Slice> slices;
  for (const std::shared_ptr<const EmbedItem>& item : items) {
    const ItemWire wire(item);
    SliceWriter out(item);
    out.FieldHead(v1::EmbedRequest::kItemsFieldNumber, wire.size());
    wire.Write(out);
    Append(out.Finish(), slices);
  }
  return ToBuffer(slices);
}

StreamItemWire::StreamItemWire(uint64_t key, const std::shared_ptr<const EmbedItem>& item, size_t chunk_bytes)
    : key_(key), chunk_bytes_(chunk_bytes) {
  const ItemWire wire(item);
  item_bytes_ = wire.size();
  SliceWriter out(item);
  wire.Write(out);
  item_ = out.Finish();
}

grpc::ByteBuffer StreamItemWire::Next() { return item_bytes_ <= chunk_bytes_ ? Whole() : Part(); }

grpc::ByteBuffer StreamItemWire::Whole() {
  SliceWriter head(nullptr);
  head.NumberField(v1::EmbedStreamRequest::kKeyFieldNumber, key_);
  head.FieldHead(v1::EmbedStreamRequest::kItemFieldNumber, item_bytes_);
  std::vector<grpc::Slice> slices = head.Finish();
  Append(std::exchange(item_, {}), slices);
  done_ = true;
  return ToBuffer(slices);
}

grpc::ByteBuffer StreamItemWire::Part() {
  const size_t count = std::min(chunk_bytes_, item_bytes_ - offset_);
  SliceWriter body(nullptr);
  body.NumberField(v1::ItemPart::kOffsetFieldNumber, offset_);
  body.NumberField(v1::ItemPart::kTotalFieldNumber, item_bytes_);
  body.FieldHead(v1::ItemPart::kDataFieldNumber, count);
  SliceWriter head(nullptr);
  head.NumberField(v1::EmbedStreamRequest::kKeyFieldNumber, key_);
  head.FieldHead(v1::EmbedStreamRequest::kPartFieldNumber, body.text().size() + count);
  head.Copy(body.text());
  std::vector<grpc::Slice> slices = head.Finish();
  TakeBytes(count, slices);
  offset_ += count;
  done_ = offset_ == item_bytes_;
  return ToBuffer(slices);
}

// The next so many of the item.
void StreamItemWire::TakeBytes(size_t count, std::vector<grpc::Slice>& out) {
  while (count > 0) {
    const grpc::Slice& slice = item_[slice_];
    const size_t taken = std::min(count, slice.size() - in_slice_);
    out.push_back(slice.sub(in_slice_, in_slice_ + taken));
    count -= taken;
    in_slice_ += taken;
    if (in_slice_ < slice.size()) continue;
    ++slice_;
    in_slice_ = 0;
  }
}

}  // namespace vitower
