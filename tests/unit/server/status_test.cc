#include "server/status.h"

#include <gtest/gtest.h>

#include <set>

namespace vitower {
namespace {

struct Expected {
  Fault fault;
  int grpc_code;  // as gRPC numbers them
  std::string_view code_name;
  std::string_view label;
};

class StatusTable : public testing::TestWithParam<Expected> {};

TEST_P(StatusTable, GivesTheCodeAndTheLabel) {
  const Expected& expected = GetParam();
  EXPECT_EQ(Row(expected.fault).fault, expected.fault);
  EXPECT_EQ(static_cast<int>(Row(expected.fault).code), expected.grpc_code);
  EXPECT_EQ(CodeName(Row(expected.fault).code), expected.code_name);
  EXPECT_EQ(Row(expected.fault).label, expected.label);
}

const Expected kRows[] = {
    {Fault::kMalformed, 3, "INVALID_ARGUMENT", "malformed"},
    {Fault::kNoItems, 3, "INVALID_ARGUMENT", "no_items"},
    {Fault::kTooManyItems, 3, "INVALID_ARGUMENT", "too_many_items"},
    {Fault::kReplyTooLarge, 8, "RESOURCE_EXHAUSTED", "reply_too_large"},
    {Fault::kCallTooLarge, 8, "RESOURCE_EXHAUSTED", "call_too_large"},
    {Fault::kQueueFull, 8, "RESOURCE_EXHAUSTED", "queue_full"},
    {Fault::kBytesFull, 8, "RESOURCE_EXHAUSTED", "bytes_full"},
    {Fault::kNotReady, 14, "UNAVAILABLE", "not_ready"},
    {Fault::kDraining, 14, "UNAVAILABLE", "draining"},
    {Fault::kNoDevice, 14, "UNAVAILABLE", "no_device"},
    {Fault::kCancelled, 1, "CANCELLED", "cancelled"},
    {Fault::kExpired, 4, "DEADLINE_EXCEEDED", "expired"},
    {Fault::kAbandoned, 14, "UNAVAILABLE", "abandoned"},
    {Fault::kStalled, 4, "DEADLINE_EXCEEDED", "stalled"},
    {Fault::kBadInput, 3, "INVALID_ARGUMENT", "bad_input"},
    {Fault::kNoVideo, 9, "FAILED_PRECONDITION", "no_video"},
    {Fault::kOverflow, 11, "OUT_OF_RANGE", "overflow"},
    {Fault::kInternal, 13, "INTERNAL", "internal"},
};
INSTANTIATE_TEST_SUITE_P(Rows, StatusTable, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.label); });

TEST(Status, TheTestNamesEveryRow) { EXPECT_EQ(FaultTable().size(), std::size(kRows)); }

TEST(Status, LabelsAreUnique) {
  std::set<std::string_view> labels;
  for (const FaultRow& row : FaultTable()) labels.insert(row.label);
  EXPECT_EQ(labels.size(), FaultTable().size());
}

TEST(Status, AnswerCodesHoldOkAndEveryCodeOfTheTableOnce) {
  std::set<absl::StatusCode> codes;
  for (const FaultRow& row : FaultTable()) codes.insert(row.code);
  codes.insert(absl::StatusCode::kOk);
  const std::vector<absl::StatusCode> answers = AnswerCodes();
  EXPECT_EQ(std::set<absl::StatusCode>(answers.begin(), answers.end()), codes);
  EXPECT_EQ(answers.size(), codes.size());
}

}  // namespace
}  // namespace vitower
