// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// Test double of Ostium's TradingStorage: it keeps trades, orders and the USDC, and does what Trading says.
contract OstiumStorage {
    using SafeERC20 for IERC20;

    error NotTrading(address a);

    enum Kind {
        None,
        Open,
        Close,
        Remove
    }

    struct Trade {
        uint256 collateral;
        uint192 openPrice;
        uint192 tp;
        uint192 sl;
        address trader;
        uint32 leverage;
        uint16 pairIndex;
        uint8 index;
        bool buy;
        bool isDayTrade;
    }

    struct TradeInfo {
        uint256 tradeId;
        uint256 oiNotional;
        uint32 initialLeverage;
        uint32 tpLastUpdated;
        uint32 slLastUpdated;
        uint32 createdAt;
        bool beingMarketClosed;
    }

    struct OpenLimitOrder {
        uint256 collateral;
        uint192 targetPrice;
        uint192 tp;
        uint192 sl;
        address trader;
        uint32 leverage;
        uint32 createdAt;
        uint32 lastUpdated;
        uint16 pairIndex;
        uint8 orderType;
        uint8 index;
        bool buy;
        bool isDayTrade;
    }

    struct Pending {
        Kind kind;
        uint256 since;
        Trade trade;
        uint192 wantedPrice;
        uint32 slippageP;
        uint256 amount; // share to close x 100, or USDC to remove
    }

    uint8 public maxTradesPerPair = 10;
    uint8 public maxPendingMarketOrders = 50;
    address public immutable usdc;
    address public trading;
    uint256 public lastId;
    mapping(uint256 => Pending) private _pending;
    mapping(address => uint256) public pendingOrderIdsCount;
    mapping(address => mapping(uint16 => uint256)) public placesTaken;
    mapping(address => mapping(uint16 => mapping(uint8 => Trade))) private _trades;
    mapping(address => mapping(uint16 => mapping(uint8 => TradeInfo))) private _infos;
    mapping(address => mapping(uint16 => mapping(uint8 => OpenLimitOrder))) private _orders;

    modifier onlyTrading() {
        if (msg.sender != trading) revert NotTrading(msg.sender);
        _;
    }

    constructor(address usdc_) {
        usdc = usdc_;
    }

    function setTrading(address trading_) external {
        trading = trading_;
    }

    function setLimits(uint8 trades, uint8 orders) external {
        (maxTradesPerPair, maxPendingMarketOrders) = (trades, orders);
    }

    function getOpenTrade(address trader, uint16 pair, uint8 index) external view returns (Trade memory) {
        return _trades[trader][pair][index];
    }

    function getOpenTradeInfo(address trader, uint16 pair, uint8 index) external view returns (TradeInfo memory) {
        return _infos[trader][pair][index];
    }

    function getOpenLimitOrder(address trader, uint16 pair, uint8 index)
        external
        view
        returns (OpenLimitOrder memory)
    {
        return _orders[trader][pair][index];
    }

    function pending(uint256 id) external view returns (Pending memory) {
        return _pending[id];
    }

    function pull(address from, uint256 amount) external onlyTrading {
        IERC20(usdc).safeTransferFrom(from, address(this), amount);
    }

    function pay(address to, uint256 amount) external onlyTrading {
        IERC20(usdc).safeTransfer(to, amount);
    }

    function addPending(Pending calldata order) external onlyTrading returns (uint256 id) {
        id = ++lastId;
        _pending[id] = order;
        pendingOrderIdsCount[order.trade.trader]++;
        if (order.kind == Kind.Open) placesTaken[order.trade.trader][order.trade.pairIndex]++;
        if (order.kind != Kind.Open) _mark(order.trade, true);
    }

    function dropPending(uint256 id) external onlyTrading {
        Pending memory order = _pending[id];
        delete _pending[id];
        pendingOrderIdsCount[order.trade.trader]--;
        if (order.kind == Kind.Open) placesTaken[order.trade.trader][order.trade.pairIndex]--;
        if (order.kind != Kind.Open) _mark(order.trade, false);
    }

    function addTrade(Trade memory trade) external onlyTrading {
        while (_trades[trade.trader][trade.pairIndex][trade.index].leverage != 0) trade.index++;
        placesTaken[trade.trader][trade.pairIndex]++;
        _trades[trade.trader][trade.pairIndex][trade.index] = trade;
        TradeInfo storage info = _infos[trade.trader][trade.pairIndex][trade.index];
        (info.tradeId, info.initialLeverage, info.createdAt) = (++lastId, trade.leverage, uint32(block.timestamp));
    }

    function setTrade(Trade calldata trade) external onlyTrading {
        _trades[trade.trader][trade.pairIndex][trade.index] = trade;
    }

    function dropTrade(address trader, uint16 pair, uint8 index) external onlyTrading {
        delete _trades[trader][pair][index];
        delete _infos[trader][pair][index];
        placesTaken[trader][pair]--;
    }

    function addOrder(OpenLimitOrder memory order) external onlyTrading returns (uint8) {
        while (_orders[order.trader][order.pairIndex][order.index].leverage != 0) order.index++;
        placesTaken[order.trader][order.pairIndex]++;
        _orders[order.trader][order.pairIndex][order.index] = order;
        return order.index;
    }

    function setOrder(OpenLimitOrder calldata order) external onlyTrading {
        _orders[order.trader][order.pairIndex][order.index] = order;
    }

    function dropOrder(address trader, uint16 pair, uint8 index) external onlyTrading {
        delete _orders[trader][pair][index];
        placesTaken[trader][pair]--;
    }

    function _mark(Trade memory trade, bool busy) private {
        _infos[trade.trader][trade.pairIndex][trade.index].beingMarketClosed = busy;
    }
}
