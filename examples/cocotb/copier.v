// SPDX-License-Identifier: MIT
// A DMA engine that copies words from one bus address to another, and stops at the first error.
module copier(
    input clk, input start, input [31:0] source, input [31:0] target, input [15:0] words,
    output reg busy, output reg failed,
    output reg req, output reg we, output reg [31:0] addr, output reg [31:0] wdata,
    input ack, input [31:0] rdata, input err
);
    reg [15:0] done;

    initial {busy, failed, req, we, done} = 0;

    always @(posedge clk) begin
        if (!busy) begin
            if (start && words != 0) begin
                {busy, failed, req, we, done} <= {4'b1010, 16'd0};
                addr <= source;
            end
        end else if (req && ack) begin
            req <= 0;
            if (err) {busy, failed} <= 2'b01;
            else if (!we) wdata <= rdata;
            else if (done + 1 == words) busy <= 0;
            if (we) done <= done + 1;
            we <= !we;
        end else if (!req && !ack) begin
            addr <= (we ? target : source) + {14'd0, done, 2'd0};
            req <= 1;
        end
    end
endmodule
