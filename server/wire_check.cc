#include "server/wire_check.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "server/text.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// An item that sets everything there is has about 30, each DeepStack level and image of a frame list one more.
constexpr int64_t kFieldsPerItem = 64;
// For long frame lists, of which a request has few.
constexpr int64_t kFieldsForFrames = 16'384;

struct Counts {
  int64_t items = 0;
  int64_t fields = 0;
};

bool Count(CodedInputStream& in, const Descriptor& message, Counts& counts);

bool CountWithin(CodedInputStream& in, const FieldDescriptor* field, uint32_t length, Counts& counts) {
  if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    if (field != nullptr && field->is_packable()) counts.fields += length;  // a value takes a byte at least
    return in.Skip(static_cast<int>(length));
  }
  if (field->message_type() == v1::Item::descriptor()) ++counts.items;
  const CodedInputStream::Limit outer = in.PushLimit(static_cast<int>(length));
  const bool counted = Count(in, *field->message_type(), counts);
  in.PopLimit(outer);
  return counted;
}

// Groups, which the API does not have, count as nonsense: what is in one would escape the count.
bool Count(CodedInputStream& in, const Descriptor& message, Counts& counts) {
  while (const uint32_t tag = in.ReadTag()) {
    ++counts.fields;
    const WireFormatLite::WireType type = WireFormatLite::GetTagWireType(tag);
    if (type == WireFormatLite::WIRETYPE_START_GROUP) return false;
    if (type != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    uint32_t length = 0;
    if (!in.ReadVarint32(&length)) return false;
    const FieldDescriptor* field = message.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    if (!CountWithin(in, field, length, counts)) return false;
  }
  return true;
}

}  // namespace

Refusal Malformed() { return {Fault::kMalformed, "the request is not a vitower.v1.EmbedRequest"}; }

std::optional<Refusal> CheckWire(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t max_items) {
  CodedInputStream in(&bytes);
  Counts counts;
  if (!Count(in, *v1::EmbedRequest::descriptor(), counts)) return Malformed();
  if (counts.items > max_items) {
    return Refusal{Fault::kTooManyItems, Cat("the request has ", counts.items, " items, above the limit of ", max_items,
                                             " (--max-request-items)")};
  }
  const int64_t limit = kFieldsForFrames + kFieldsPerItem * max_items;
  if (counts.fields <= limit) return std::nullopt;
  return Refusal{Fault::kTooManyItems,
                 Cat("the request has ", counts.fields, " fields, above the limit of ", limit, ", which is ",
                     kFieldsForFrames, " and ", kFieldsPerItem, " for each of --max-request-items")};
}

std::optional<Refusal> CheckItemWire(google::protobuf::io::ZeroCopyInputStream& bytes) {
  CodedInputStream in(&bytes);
  Counts counts;
  if (!Count(in, *v1::Item::descriptor(), counts)) return Malformed();
  const int64_t limit = kFieldsForFrames + kFieldsPerItem;
  if (counts.fields <= limit) return std::nullopt;
  return Refusal{Fault::kTooManyItems, Cat("the item has ", counts.fields, " fields, above the limit of ", limit)};
}

}  // namespace vitower
