#include "server/result_wire.h"

#include <string_view>
#include <utility>

#include "proto/slice_writer.h"

namespace vitower {
namespace {

using Values = std::vector<std::string>;

std::shared_ptr<const Values> TakeValues(v1::Result& result) {
  auto values = std::make_shared<Values>(static_cast<size_t>(result.outputs_size()));
  for (int i = 0; i < result.outputs_size(); ++i) {
    (*values)[static_cast<size_t>(i)].swap(*result.mutable_outputs(i)->mutable_data());
  }
  return values;
}

// A result as one message in which the values stand last: of each output, and the outputs of the result. (The order of
// fields is the writer's to choose.)
class WholeResult final {
 public:
  explicit WholeResult(v1::Result& result) : values_(TakeValues(result)) {
    for (const v1::Tensor& output : result.outputs()) outputs_.push_back(output.SerializeAsString());
    result.clear_outputs();
    head_ = result.SerializeAsString();
    size_ = head_.size();
    for (size_t i = 0; i < outputs_.size(); ++i) size_ += FieldSize(v1::Result::kOutputsFieldNumber, OutputSize(i));
  }

  size_t size() const { return size_; }
  const std::shared_ptr<const Values>& holder() const { return values_; }

  void Write(SliceWriter& out) const {
    out.Copy(head_);
    for (size_t i = 0; i < outputs_.size(); ++i) {
      out.FieldHead(v1::Result::kOutputsFieldNumber, OutputSize(i));
      out.Copy(outputs_[i]);
      out.FieldHead(v1::Tensor::kDataFieldNumber, (*values_)[i].size());
      out.Refer((*values_)[i]);
    }
  }

 private:
  size_t OutputSize(size_t i) const {
    return outputs_[i].size() + FieldSize(v1::Tensor::kDataFieldNumber, (*values_)[i].size());
  }

  const std::shared_ptr<const Values> values_;
  std::vector<std::string> outputs_;
  std::string head_;
  size_t size_ = 0;
};

}  // namespace

void ResponseWire::Add(v1::Result result) {
  const WholeResult whole(result);
  SliceWriter out(whole.holder());
  out.FieldHead(v1::EmbedResponse::kResultsFieldNumber, whole.size());
  whole.Write(out);
  for (grpc::Slice& slice : out.Finish()) slices_.push_back(std::move(slice));
}

grpc::ByteBuffer ResponseWire::Finish() { return ToBuffer(slices_); }

AnswerWire::AnswerWire(uint64_t key, v1::Result result, int64_t chunk_bytes)
    : key_(key), chunk_bytes_(static_cast<size_t>(chunk_bytes)), result_(std::move(result)) {}

grpc::ByteBuffer AnswerWire::Next() {
  if (values_) return Part();
  return result_.ByteSizeLong() <= chunk_bytes_ ? Whole() : Head();
}

grpc::ByteBuffer AnswerWire::Whole() {
  const WholeResult whole(result_);
  SliceWriter out(whole.holder());
  out.NumberField(v1::EmbedStreamResponse::kKeyFieldNumber, key_);
  out.FieldHead(v1::EmbedStreamResponse::kResultFieldNumber, whole.size());
  whole.Write(out);
  done_ = true;
  return ToBuffer(out.Finish());
}

grpc::ByteBuffer AnswerWire::Head() {
  values_ = TakeValues(result_);
  for (size_t i = 0; i < values_->size(); ++i) {
    result_.mutable_outputs(static_cast<int>(i))->set_byte_count((*values_)[i].size());
  }
  SliceWriter out(values_);
  out.NumberField(v1::EmbedStreamResponse::kKeyFieldNumber, key_);
  out.FieldHead(v1::EmbedStreamResponse::kResultFieldNumber, result_.ByteSizeLong());
  out.Copy(result_.SerializeAsString());
  SkipFinished();
  return ToBuffer(out.Finish());
}

grpc::ByteBuffer AnswerWire::Part() {
  const std::string_view values = (*values_)[output_];
  const std::string_view part = values.substr(offset_, chunk_bytes_);
  SliceWriter body(values_);
  body.NumberField(v1::TensorPart::kOutputFieldNumber, output_);
  body.NumberField(v1::TensorPart::kOffsetFieldNumber, offset_);
  body.FieldHead(v1::TensorPart::kDataFieldNumber, part.size());
  SliceWriter out(values_);
  out.NumberField(v1::EmbedStreamResponse::kKeyFieldNumber, key_);
  out.FieldHead(v1::EmbedStreamResponse::kPartFieldNumber, body.text().size() + part.size());
  out.Copy(body.text());
  out.Refer(part);
  offset_ += part.size();
  SkipFinished();
  return ToBuffer(out.Finish());
}

// To the next output that has values left.
void AnswerWire::SkipFinished() {
  while (output_ < values_->size() && offset_ == (*values_)[output_].size()) {
    ++output_;
    offset_ = 0;
  }
  done_ = output_ == values_->size();
}

}  // namespace vitower
